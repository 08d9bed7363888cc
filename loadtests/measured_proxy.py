"""The description of a proxy that is measured, and functions to find its program."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = str(Path(sys.executable).parent)
Origins = Mapping[str, int]  # name → port


@dataclass(frozen=True, slots=True)
class MeasuredProxy:
    """`check` is the command that validates the configuration; empty if the program has none.

    `sticky`: the proxy sends every request of a customer, known by a header, to the same origin.
    """

    name: str
    version: str
    port: int
    argv: list[str]
    check: list[str]
    sticky: bool = True
    secure: bool = False  # it speaks TLS


def program(name: str) -> str | None:
    """The program on the PATH, or among the scripts installed with this Python."""
    return shutil.which(name) or shutil.which(name, path=SCRIPTS)


def path_of(name: str) -> str:
    return program(name) or name


def printed_version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    match = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return match[0] if match else "unknown"
