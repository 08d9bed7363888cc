"""A long journal is replayed by several processes: each examines pages of records, this one joins them in order.

Rule: a helper gets pages and gives results over a pipe and ends when this closes, so none outlives the process that started it,
however that ends. Helpers are in process groups of their own: Ctrl-C at a terminal reaches only the process that asks them.
Each helper has one page at a time: with two, it and this process could both wait for the other to read.
Pages and results are pickled, which keeps every value as it is; both ends are this program, and nobody else has the pipes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterator
from itertools import chain, islice
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import cast

from crossfade.control.chain import Row
from crossfade.control.replay import Examined, examined

LONG = 4  # pages; a shorter journal is done before helpers have started
MOST = 8  # more helpers than this wait for the process that reads the journal


class HelperEnded(Exception):
    """The message is ready to print."""


def examined_pages(pages: Iterator[list[Row]], helpers: int | None = None) -> Generator[Examined]:
    """In order. Close it to end the helpers; `helpers` is for tests."""
    wanted = min(len(os.sched_getaffinity(0)), MOST) if helpers is None else helpers
    first = list(islice(pages, LONG))
    every = chain(first, pages)
    if wanted < 2 or len(first) < LONG:
        for page in every:
            yield from map(examined, page)
        return
    started: list[_Helper] = []
    try:
        while len(started) < wanted:
            started.append(_Helper())
        yield from _in_turn(every, started)
    finally:
        for helper in started:
            helper.end()


def _in_turn(pages: Iterator[list[Row]], helpers: list[_Helper]) -> Iterator[Examined]:
    """The helper that is asked first answers first, and has its next page before this process works on its answer."""
    asked = deque[_Helper]()
    for helper, page in zip(helpers, pages, strict=False):
        helper.ask(page)
        asked.append(helper)
    while asked:
        helper = asked.popleft()
        found = helper.answer()
        if page := next(pages, []):
            helper.ask(page)
            asked.append(helper)
        yield from found


class _Helper:
    def __init__(self) -> None:
        self.pipe, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "crossfade.control.replay_processes"],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, process_group=0, env=_environment(),
            )  # fmt: skip

    def ask(self, page: list[Row]) -> None:
        try:
            self.pipe.send(page)
        except OSError:
            raise self.ended() from None

    def answer(self) -> list[Examined]:
        try:
            return cast(list[Examined], self.pipe.recv())
        except (EOFError, OSError):
            raise self.ended() from None

    def ended(self) -> HelperEnded:
        return HelperEnded(f"a process of the replay ended: exit code {self.process.wait()}")

    def end(self) -> None:
        """Also in the middle of a page."""
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def _environment() -> dict[str, str]:
    """Python finds the package that runs here, whatever is in the working directory."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def help_out(pipe: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):  # whoever asked has ended
        while True:
            pipe.send([examined(row) for row in pipe.recv()])


if __name__ == "__main__":
    help_out(Connection(sys.stdin.fileno()))
