from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.accounting import Process, cpu_seconds, family, parse_stat, processes


def stat(pid: int, name: str, parent: int, times: tuple[int, int, int, int]) -> str:
    """proc(5): pid, (comm), state, ppid, 9 more fields, utime, stime, cutime, cstime, and the rest."""
    return f"{pid} ({name}) S {parent} " + "0 " * 9 + " ".join(map(str, times)) + " 20 0 1 0 12345 0 0\n"


@pytest.mark.parametrize("name", ["python", "tmux: server", "a) (b", ") S 1 2 3", "x (y)"])
def test_names_may_hold_anything(name: str) -> None:
    assert parse_stat(stat(42, name, 7, (1, 20, 300, 4000))) == Process(42, 7, 4321)


def test_the_tree_and_nothing_else_is_added_up(tmp_path: Path) -> None:
    for pid, parent, ticks in [(1, 0, 1000), (10, 1, 1), (11, 10, 20), (12, 11, 300), (20, 1, 5000)]:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(stat(pid, "x", parent, (ticks, 0, 0, 0)))
    (tmp_path / "self").mkdir()
    alive = processes(tmp_path)
    assert family(10, alive) == {10, 11, 12}
    assert family(99, alive) == set()
    assert cpu_seconds(10, tmp_path) == 321 / os.sysconf("SC_CLK_TCK")


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
