"""A proxy that is measured: what a maker of one returns, and what makers need."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BESIDE = str(Path(sys.executable).parent)
Origins = Mapping[str, int]  # name → port


@dataclass(frozen=True, slots=True)
class Contestant:
    """`check` validates its configuration without running it; empty if it has no such command.

    `sticky`: it can hold a customer, known by a header, to an origin, and does.
    """

    name: str
    version: str
    port: int
    argv: list[str]
    check: list[str]
    sticky: bool = True


def program(name: str) -> str | None:
    """On the PATH, or installed beside this Python, as a package's script is."""
    return shutil.which(name) or shutil.which(name, path=BESIDE)


def found(name: str) -> str:
    return program(name) or name


def printed_version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    match = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return match[0] if match else "unknown"
