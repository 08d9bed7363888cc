"""A replay by several processes finds what one process finds, in the same order, and leaves no process behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest
from msgspec.structs import replace

from crossfade.control.chain import Row
from crossfade.control.replay import examined, joined, replayed
from crossfade.control.replay_processes import LONG, HelperEnded, examined_pages

from .harness import rows_of
from .test_replay import aborted, changed, commanded, decided, promoted, resealed

WAITS = 20


@pytest.fixture
async def rows() -> list[Row]:
    """Whole rollouts one after another, as if of one route; so that few records begin where the last one ended."""
    found = [d for make in (promoted, aborted, commanded) for d in await decided(await make())]
    found = [replace(d, id=number) for number, d in enumerate(found, 1)]
    return rows_of(changed(resealed(found), 6, reason="it is well"))


def pages(rows: list[Row], size: int = 2) -> Iterator[list[Row]]:
    return iter([rows[at : at + size] for at in range(0, len(rows), size)])


def children() -> set[int]:
    return {int(pid) for pid in Path("/proc/self/task", str(os.getpid()), "children").read_text().split()}


def test_several_processes_find_what_one_finds(rows):
    rows += [Row(99, "{}"), Row(100, "no JSON")]
    alone = replayed(rows)
    assert {"from", "hash", "reason", "record"} <= {d.what for d in alone.differences}
    for helpers in (1, 2):
        with closing(examined_pages(pages(rows), helpers)) as found:
            assert joined(found) == alone


def test_a_journal_that_is_not_longer_than_its_first_pages_starts_no_process(rows, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere")
    short = list(pages(rows))[: LONG - 1]
    with closing(examined_pages(iter(short), 2)) as found:
        assert [e.id for e in found] == [row.id for page in short for row in page]
    with pytest.raises(FileNotFoundError):
        next(examined_pages(pages(rows), 2))


def test_an_interrupted_replay_leaves_no_process(rows):
    before = children()
    found = examined_pages(pages(rows), 2)
    assert next(found).id == 1
    assert len(children() - before) == 2
    with pytest.raises(KeyboardInterrupt):
        found.throw(KeyboardInterrupt())
    assert children() == before


def test_a_helper_that_ends_ends_the_replay(rows):
    before = children()
    found = examined_pages(pages(rows, 1), 2)
    next(found)
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(HelperEnded, match=r"^a process of the replay ended: exit code -9$"):
        list(found)
    assert children() == before


SCRIPT = """
import pickle, signal, sys
from pathlib import Path
from crossfade.control.replay_processes import examined_pages

found = examined_pages(iter(pickle.load(sys.stdin.buffer)), 2)
next(found)
print(Path("/proc/thread-self/children").read_text(), flush=True)
signal.pause()
"""


def test_helpers_end_with_a_process_that_is_killed(rows):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=-1, stdout=-1, stderr=-1)
    assert process.stdin and process.stdout and process.stderr
    pickle.dump(list(pages(rows)), process.stdin)
    process.stdin.close()
    helpers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(helpers) == 2
    process.kill()
    process.wait()
    deadline = monotonic() + WAITS
    while any(is_running(pid) for pid in helpers):
        assert monotonic() < deadline
        sleep(0.02)
    assert process.stderr.read() == b""  # the helpers write there too
    process.stdout.close()
    process.stderr.close()


def is_running(pid: int) -> bool:
    """False also for one that has ended and that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_one_record_says_does_not_depend_on_those_before_it(rows):
    assert [e.id for e in map(examined, reversed(rows))] == [row.id for row in reversed(rows)]
    assert list(map(examined, reversed(rows))) == list(map(examined, rows))[::-1]
