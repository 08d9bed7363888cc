"""The tour: the ways in which a version is deployed, one after the other, each with a checked result.

It uses only the commands that a user has, and prints each of them. A part whose packages are absent says so and is left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from crossfade.demo.children import child
from crossfade.demo.processes import DemoError, DemoProcesses
from crossfade.demo.screen import INDENT, Row
from crossfade.demo.traffic import Traffic

TOLD = 6  # lines of a command's output that are shown
WIDTH = 150


class Tour:
    """What the parts have: the processes, the traffic of the customers, and the commands of a user."""

    def __init__(self, processes: DemoProcesses, traffic: Traffic, console: Console) -> None:
        self.processes, self.traffic, self.console = processes, traffic, console
        self.environment = os.environ | {"CROSSFADE_ADMIN_URL": processes.admin}

    async def run(self, *words: str, told: int = TOLD) -> tuple[int, str]:
        """`python -m WORDS`: its exit code and its output, of which the last lines are shown. The registry is ./models."""
        self._print_command(words)
        folder, environment = self.processes.folder, self.environment
        async with child(*words, errors=PIPE, cwd=folder, env=environment) as process:
            out, err = (part.decode(errors="replace") for part in await process.communicate())
        lines = (err if process.returncode else out).splitlines()
        for line in lines[max(len(lines) - told, 0) :]:
            self._print(line[:WIDTH], "dim")
        return process.returncode or 0, out

    async def must(self, *words: str) -> str:
        """The output. Raises DemoError if the command fails."""
        code, out = await self.run(*words)
        if code:
            raise DemoError(f"{' '.join(words[:2])} ended with exit code {code}")
        return out

    async def begin(self, *words: str) -> None:
        """A command that runs until the end of the tour."""
        self._print_command(words)
        await self.processes.start(words[0], *words)

    async def predict(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Answer and header fields."""
        async with self.processes.session.post(f"{self.processes.url}/predict", json=row) as response:
            return await response.json(), response.headers

    def _print_command(self, words: Sequence[str]) -> None:
        self._print(f"$ python -m {shlex.join(words)}", "cyan")

    def _print(self, line: str, style: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is closed; commands that tidy up go on
            self.console.print(f"{INDENT}{line}", style=style, markup=False, soft_wrap=True)


Part = Callable[[Tour], Awaitable[list[Row]]]


async def show(tour: Tour, parts: Sequence[tuple[str, Part, Sequence[str]]]) -> list[Row]:
    """The rows of the summary. Of each part: its title, what it does, and the packages that it needs."""
    rows: list[Row] = []
    for number, (title, part, packages) in enumerate(parts, 1):
        tour.console.print(f"\n{number}  {title}", style="bold", markup=False)
        absent = [name for name in packages if importlib.util.find_spec(name) is None]
        if absent:
            said = f"left out: {', '.join(absent)} is not installed (pip install 'crossfade[tour]')"
            tour.console.print(f"{INDENT}{said}", style="yellow", markup=False)
            continue
        rows += [(f"{number}: {check}", measured, ok) for check, measured, ok in await part(tour)]
    return rows
