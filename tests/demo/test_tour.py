"""The tour leaves out, by name, what this machine has no packages for."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from crossfade.demo.processes import DemoProcesses
from crossfade.demo.screen import Row
from crossfade.demo.tour import Tour, show
from crossfade.demo.traffic import Traffic


async def _seven(tour: Tour) -> list[Row]:
    return [("seven", "7", True)]


async def test_a_part_without_its_packages_is_left_out_by_name(tmp_path: Path) -> None:
    shown, processes = io.StringIO(), DemoProcesses(tmp_path)
    tour = Tour(processes, Traffic(processes.url), Console(file=shown))
    parts = (("One", _seven, ("no_such_package", "asyncio")), ("Two", _seven, ("asyncio",)))
    assert await show(tour, parts) == [("2: seven", "7", True)]
    assert "left out: no_such_package is not installed" in shown.getvalue()


async def test_a_command_s_exit_code_and_output_are_known(tmp_path: Path) -> None:
    shown, processes = io.StringIO(), DemoProcesses(tmp_path)
    tour = Tour(processes, Traffic(processes.url), Console(file=shown))
    code, output = await tour.run("crossfade", "version", told=1)
    assert (code, output.split()[0]) == (0, "crossfade")
    assert (await tour.run("crossfade", "check", "no such file.yaml"))[0] != 0
    assert "$ python -m crossfade check 'no such file.yaml'" in shown.getvalue()
