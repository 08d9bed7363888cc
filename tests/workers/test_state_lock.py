"""One process holds a state; the lock file names the workers that the next holder must wait for."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.workers.start_error import StartError
from crossfade.workers.state_lock import StateLock, is_alive, is_held, name_of


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
        with pytest.raises(StartError, match=rf"another proxy \(pid {other.pid}\) holds .*state\.db\.lock"):
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
    lock.write(["11:5", "12:6"])
    lock.leave()
    lock = StateLock(str(path))
    assert lock.left_behind == ["11:5", "12:6"]
    assert pids(path)[1:] == ["11:5", "12:6"]  # also if this holder dies before it has workers of its own
    lock.leave()
    assert StateLock(str(path)).left_behind == ["11:5", "12:6"]


def test_a_holder_that_ends_with_its_workers_empties_the_file(path: Path) -> None:
    lock = StateLock(str(path))
    lock.write(["11:5", "12:6"])
    lock.release()
    assert pids(path) == []
    lock = StateLock(str(path))
    assert lock.left_behind == []
    lock.leave()
    lock.release()  # as at the end of a proxy that has handed over: the next holder's file stays as it is
    assert pids(path) == [str(os.getpid())]


def test_a_lock_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot make the lock file: No such file or directory"):
        StateLock(f"{tmp_path}/none/state.db")


def test_the_file_is_for_its_user_alone_also_one_that_was_open_to_others(path: Path) -> None:
    """A lock on a file that others can open can be held by others."""
    file = Path(f"{path}.lock")
    file.touch(0o644)
    lock = StateLock(str(path))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lock.release()


def test_two_names_of_one_state_have_one_lock(path: Path, tmp_path: Path) -> None:
    path.touch()
    (tmp_path / "other.db").symlink_to(path)
    lock = StateLock(str(path))
    with pytest.raises(StartError, match=f"pid {os.getpid()}"):
        StateLock(str(tmp_path / "other.db"))
    lock.release()


def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("content")
    Path(f"{path}.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StartError, match="cannot make the lock file"):
        StateLock(str(path))
    assert (tmp_path / "precious").read_text() == "content"


def test_a_received_lock_is_the_same_lock(path: Path) -> None:
    """Two processes of a takeover share it; it is free when both have left."""
    lock = StateLock(str(path))
    lock.write(["11:5"])
    shared = StateLock(str(path), os.dup(lock.fd))
    assert shared.left_behind == ["11:5"]
    assert pids(path) == [str(os.getpid()), "11:5"]
    lock.leave()
    with pytest.raises(StartError):
        StateLock(str(path))
    shared.leave()
    StateLock(str(path)).leave()


@pytest.mark.parametrize(("content", "held"), [(None, False), ("", False), ("12\n", True)])
def test_an_empty_file_says_that_its_last_holder_ended_in_good_order(
    path: Path, content: str | None, held: bool
) -> None:
    if content is not None:
        path.write_text(content)
    assert is_held(str(path)) is held


@pytest.fixture
def dying() -> Iterator[int]:
    """A process that has ended, and that nobody reaps before the test is over."""
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process.pid


NEVER = 2**22 + 1  # no process has this number


def test_a_name_is_of_one_process_only(dying: int) -> None:
    """Another one may have its pid by now, above all after a restart of the machine."""
    name = name_of(os.getpid())
    assert is_alive(name)
    assert not is_alive(f"{os.getpid()}:1")
    assert not is_alive(str(os.getpid()))
    for gone in (dying, NEVER):
        assert not is_alive(name_of(gone))
