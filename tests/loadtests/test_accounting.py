from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.accounting import (
    MIB,
    Process,
    cpu_seconds,
    memory_mib,
    parse_rollup,
    parse_stat,
    process_tree,
    processes,
)


def stat(pid: int, name: str, parent: int, times: tuple[int, int, int, int]) -> str:
    """proc(5): pid, (comm), state, ppid, 9 more fields, utime, stime, cutime, cstime, and the rest."""
    return f"{pid} ({name}) S {parent} " + "0 " * 9 + " ".join(map(str, times)) + " 20 0 1 0 12345 0 0\n"


@pytest.mark.parametrize("name", ["python", "tmux: server", "a) (b", ") S 1 2 3", "x (y)"])
def test_a_process_name_may_contain_spaces_and_parentheses(name: str) -> None:
    assert parse_stat(stat(42, name, 7, (1, 20, 300, 4000))) == Process(42, 7, 4300)


def test_the_process_tree_is_the_root_and_its_descendants(tmp_path: Path) -> None:
    for pid, parent in [(1, 0), (10, 1), (11, 10), (12, 11), (20, 1)]:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(stat(pid, "x", parent, (1, 1, 1, 1)))
    (tmp_path / "self").mkdir()
    alive = processes(tmp_path)
    assert process_tree(10, alive) == {10, 11, 12}
    assert process_tree(99, alive) == set()


BURN = "import time\nwhile time.process_time() < {}: pass\n"


def test_cpu_time_of_ended_children_counts() -> None:
    """The child and the grandchild use a known CPU time and end; the parent uses almost none."""
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


def test_cpu_time_of_running_children_counts() -> None:
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


def test_cpu_time_of_ended_threads_counts() -> None:
    script = f"import threading, time\ndef burn():\n  {BURN.format(0.2).splitlines()[1]}\n"
    script += "t = threading.Thread(target=burn); t.start(); t.join(); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        assert cpu_seconds(process.pid) >= 0.19
        process.communicate("\n")


def test_memory_shared_by_parent_and_child_counts_once() -> None:
    """The child shares 40 MiB with its parent after a fork and has 20 MiB of its own."""
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


def test_the_pss_of_a_rollup_is_in_bytes() -> None:
    assert parse_rollup("00400000-7ffd [rollup]\nRss:  9 kB\nPss:   2048 kB\nPss_Anon: 7 kB\n") == 2 * MIB
