"""Runs a load generator against a port and returns its result.

Saturating load: wrk if it is installed, else `loadtests.client`. Load at a fixed rate: `loadtests.pace`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec

from loadtests.processes import BenchError, child
from loadtests.work import Work

_SCRIPT = Path(__file__).with_name("load.lua")
_SLACK = 30.0


class Outcome(msgspec.Struct, frozen=True):
    """`errors`: answers other than 2xx and 3xx, requests without an answer, and connection failures. `cached`: answers of a cache."""

    requests: int
    seconds: float
    errors: int
    p50_us: float
    p99_us: float
    cached: int = 0


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "loadtests.client"


def saturating(port: int, work: Work, connections: int, seconds: int) -> list[str]:
    if generator() == "wrk":
        return [
            *("wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"),
            *("--script", str(_SCRIPT), f"http://127.0.0.1:{port}", "--"),
            *(work.method, work.path, work.body.decode()),
        ]
    return [sys.executable, "-m", "loadtests.client", str(port), work.name, str(connections), str(seconds)]


def paced(port: int, work: Work, seconds: int) -> list[str]:
    return [sys.executable, "-m", "loadtests.pace", str(port), work.name, str(work.rate), str(seconds)]


def run_generator(
    command: list[str], seconds: int, cores: frozenset[int], midway: Callable[[], None] = lambda: None
) -> Outcome:
    """Raises BenchError if the generator fails or no request was answered. `midway` is called once, halfway."""
    with NamedTemporaryFile(prefix="crossfade-load-") as log:
        output = Path(log.name)
        with child(command, cores, output) as process:
            try:
                process.wait(seconds / 2)
            except subprocess.TimeoutExpired:
                midway()
            try:
                code = process.wait(seconds + _SLACK)
            except subprocess.TimeoutExpired:
                raise BenchError(f"{command!r} did not end in time: {output.read_text()}") from None
        text = output.read_text()
    if code != 0:
        raise BenchError(f"{command!r} failed: {text}")
    outcome = msgspec.json.decode(text.strip().rpartition("\n")[2], type=Outcome)
    if outcome.requests == 0:
        raise BenchError(f"{command!r} got no answer: {text}")
    return outcome
