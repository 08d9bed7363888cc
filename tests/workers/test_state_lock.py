"""One process holds a state; the lock file names the workers that the next holder must wait for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossfade.workers.state_lock import LockedError, StateLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def pids(path: Path) -> list[str]:
    return Path(f"{path}.lock").read_text().split()


def test_two_processes_cannot_hold_one_state(path: Path) -> None:
    code = (
        "import sys; from crossfade.workers.state_lock import StateLock; "
        f"lock = StateLock('{path}'); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=rf"another proxy \(pid {other.pid}\) holds .*state\.db\.lock"):
            StateLock(str(path))
        other.kill()
        other.wait()
        assert other.stdin is not None
        other.stdin.close()
    lock = StateLock(str(path))
    assert pids(path) == [str(os.getpid())]
    lock.release()


def test_a_holder_that_leaves_or_dies_leaves_its_workers_to_the_next(path: Path) -> None:
    lock = StateLock(str(path))
    lock.write([11, 12])
    lock.leave()
    lock = StateLock(str(path))
    assert lock.left_behind == [11, 12]
    assert pids(path)[1:] == ["11", "12"]  # also if this holder dies before it has workers of its own
    lock.leave()
    assert StateLock(str(path)).left_behind == [11, 12]


def test_a_holder_that_ends_with_its_workers_empties_the_file(path: Path) -> None:
    lock = StateLock(str(path))
    lock.write([11, 12])
    lock.release()
    assert pids(path) == []
    lock = StateLock(str(path))
    assert lock.left_behind == []
    lock.leave()
    lock.release()  # as at the end of a proxy that has handed over: the next holder's file stays as it is
    assert pids(path) == [str(os.getpid())]


def test_a_lock_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(LockedError, match="cannot make the lock file: No such file or directory"):
        StateLock(f"{tmp_path}/none/state.db")
