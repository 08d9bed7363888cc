"""Writes the report of a route from time to time: `report: {every, dir, keep}`.

Rule: a report is made by `crossfade report` in a process of its own, which asks the admin API as anybody does, so a large one
holds up no decision. When the next is due is read from the files that are there, so a restart neither forgets one nor writes
one twice. A file has its name only when it is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from crossfade.config.model import Config
from crossfade.control.keyed_tasks import KeyedTasks

log = logging.getLogger("crossfade.report")

TOO_LONG = 120.0  # seconds that one report may take
LOOK = 60.0  # seconds at most until the clock is asked again: it may have been set
AGAIN = 60.0  # seconds after a report that failed
_STAMP = "%Y-%m-%dT%H%M%SZ"
_STAMPED = r"-(\d{4}-\d\d-\d\dT\d{6}Z)\.html"


class Schedule(NamedTuple):
    """Times are seconds; `keep`: how many files stay."""

    route: str
    every: float
    dir: str
    keep: int


class ScheduledReports:
    """`now`: wall time. `environment`: of the processes that it starts, which says where the admin API is."""

    def __init__(self, now: Callable[[], float], environment: Mapping[str, str]) -> None:
        self.now = now
        self.environment = environment
        self.writing: KeyedTasks[Schedule] = KeyedTasks()

    def configure(self, config: Config) -> None:
        wanted = {
            Schedule(route.name, route.report.every, route.report.dir, route.report.keep)
            for route in config.routes
            if route.report is not None
        }
        for schedule in [*self.writing.tasks]:
            if schedule not in wanted:
                self.writing.end(schedule)
        for schedule in wanted - self.writing.tasks.keys():
            self.writing.begin(schedule, self._write_for_ever(schedule))

    async def close(self) -> None:
        await self.writing.close()

    async def _write_for_ever(self, schedule: Schedule) -> None:
        began = self.now()
        while True:
            files = await asyncio.to_thread(written, schedule)
            due = (max(files) if files else began) + schedule.every
            wait = due - self.now()
            if wait > 0:
                await asyncio.sleep(min(wait, LOOK))
            elif not await self._write(schedule):
                await asyncio.sleep(min(AGAIN, schedule.every))

    async def _write(self, schedule: Schedule) -> bool:
        at = self.now()
        path = (
            Path(schedule.dir) / f"{schedule.route}-{datetime.fromtimestamp(at, UTC).strftime(_STAMP)}.html"
        )
        unfinished = path.with_name(f".{path.name}.new")
        try:
            await asyncio.to_thread(_make_folder, path.parent)
            fault = await self._run("report", schedule.route, "-o", str(unfinished))
            if not fault:
                await asyncio.to_thread(_finish, unfinished, path, schedule)
                log.info("report of %s written to %s", schedule.route, path)
        except OSError as error:
            fault = str(error)
        if fault:
            log.error("the report of %s cannot be written: %s", schedule.route, fault)
        return not fault

    async def _run(self, *arguments: str) -> str:
        """What is wrong, in a line; empty if nothing is."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "crossfade", *arguments,
            stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, env=self.environment,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TOO_LONG):
                _, said = await process.communicate()
        except TimeoutError:
            return f"it takes more than {TOO_LONG:g} s"
        finally:
            _kill(process)
        lines = said.decode(errors="replace").strip().splitlines()
        return "" if process.returncode == 0 else (lines or [f"exit code {process.returncode}"])[0]


def written(schedule: Schedule) -> dict[float, Path]:
    """The reports that are there, by wall time."""
    name = re.compile(re.escape(schedule.route) + _STAMPED)
    found = {}
    with contextlib.suppress(OSError):
        for path in Path(schedule.dir).iterdir():
            if match := name.fullmatch(path.name):
                found[datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC).timestamp()] = path
    return found


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _finish(unfinished: Path, path: Path, schedule: Schedule) -> None:
    os.replace(unfinished, path)
    files = written(schedule)
    for at in sorted(files)[: -schedule.keep]:
        files[at].unlink(missing_ok=True)


def _kill(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
