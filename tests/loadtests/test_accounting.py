from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.accounting import (
    MIB,
    Process,
    cpu_seconds,
    family,
    memory_mib,
    parse_rollup,
    parse_stat,
    processes,
)


def stat(pid: int, name: str, parent: int, times: tuple[int, int, int, int]) -> str:
    """proc(5): pid, (comm), state, ppid, 9 more fields, utime, stime, cutime, cstime, and the rest."""
    return f"{pid} ({name}) S {parent} " + "0 " * 9 + " ".join(map(str, times)) + " 20 0 1 0 12345 0 0\n"


@pytest.mark.parametrize("name", ["python", "tmux: server", "a) (b", ") S 1 2 3", "x (y)"])
def test_names_may_hold_anything(name: str) -> None:
    assert parse_stat(stat(42, name, 7, (1, 20, 300, 4000))) == Process(42, 7, 4300)


def test_the_tree_and_nothing_else_is_the_family(tmp_path: Path) -> None:
    for pid, parent in [(1, 0), (10, 1), (11, 10), (12, 11), (20, 1)]:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(stat(pid, "x", parent, (1, 1, 1, 1)))
    (tmp_path / "self").mkdir()
    alive = processes(tmp_path)
    assert family(10, alive) == {10, 11, 12}
    assert family(99, alive) == set()


BURN = "import time\nwhile time.process_time() < {}: pass\n"


def test_time_of_children_is_kept_when_they_have_ended() -> None:
    """A parent that does nothing; its child and grandchild burn a known time and are gone."""
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN.format(0.3)!r}])"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('done', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        assert cpu_seconds(process.pid) >= 0.29
        process.communicate("\n")
    assert cpu_seconds(process.pid) == 0.0


def test_running_children_count() -> None:
    script = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', "
        f"{BURN.format(0.2) + 'print(1, flush=True); input()'!r}])"
        ".wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        assert cpu_seconds(process.pid) >= 0.19
        process.communicate("\n")


def test_time_of_threads_that_have_ended_counts() -> None:
    script = f"import threading, time\ndef burn():\n  {BURN.format(0.2).splitlines()[1]}\n"
    script += "t = threading.Thread(target=burn); t.start(); t.join(); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        assert cpu_seconds(process.pid) >= 0.19
        process.communicate("\n")


def test_memory_of_parent_and_child_and_what_they_share_once() -> None:
    """40 MiB that a child has from its parent's fork, and 20 of its own."""
    script = (
        "import os\nkept = b'x' * (40 << 20)\npid = os.fork()\n"
        "if not pid: own = b'y' * (20 << 20); print(1, flush=True); input(); os._exit(0)\n"
        "os.waitpid(pid, 0)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        assert 60 <= memory_mib(process.pid) < 95
        process.communicate("\n")
    assert memory_mib(process.pid) == 0


def test_a_rollup_is_read_in_bytes() -> None:
    assert parse_rollup("00400000-7ffd [rollup]\nRss:  9 kB\nPss:   2048 kB\nPss_Anon: 7 kB\n") == 2 * MIB
