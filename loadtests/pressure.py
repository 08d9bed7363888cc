"""Puts load on a port and says what came of it: with wrk if it is there, else with `loadtests.client`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from loadtests.processes import BenchError, pinned
from loadtests.work import Work

SCRIPT = Path(__file__).with_name("load.lua")


class Outcome(msgspec.Struct, frozen=True):
    """`errors`: answers other than 2xx and 3xx, and failures of a connection."""

    requests: int
    seconds: float
    errors: int
    p50_us: float
    p99_us: float


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "loadtests.client"


def command(port: int, work: Work, connections: int, seconds: int) -> list[str]:
    if generator() == "wrk":
        return [
            *("wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"),
            *("--script", str(SCRIPT), f"http://127.0.0.1:{port}", "--"),
            *(work.method, work.path, work.body.decode()),
        ]
    return [sys.executable, "-m", "loadtests.client", str(port), work.name, str(connections), str(seconds)]


def press(port: int, work: Work, connections: int, seconds: int, cores: frozenset[int]) -> Outcome:
    """Raises BenchError if the generator fails or not one request was answered."""
    done = subprocess.run(
        command(port, work, connections, seconds),
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        preexec_fn=pinned(cores),
    )
    if done.returncode != 0:
        raise BenchError(f"{generator()} failed: {done.stderr or done.stdout}")
    outcome = msgspec.json.decode(done.stdout.strip().rpartition("\n")[2], type=Outcome)
    if outcome.requests == 0:
        raise BenchError(f"nothing was answered on port {port}: {done.stdout}")
    return outcome
