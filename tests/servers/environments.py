"""Model servers that others wrote, each in an environment of its own: what they require contradicts each other.

`make servers` makes the environments. Where there is none, a test says so and is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(sys.prefix) / "servers"
MODEL = Path(__file__).with_name("churn.py")
TIMEOUT = 300.0  # seconds; they import much


def environment(name: str) -> Path:
    folder = ROOT / name
    if not (folder / "bin" / "python").exists():
        pytest.skip(f"there is no {name} in {folder}: make servers")
    return folder / "bin"


def write_model(name: str, folder: Path) -> None:
    subprocess.run([environment(name) / "python", MODEL, name, folder], check=True, timeout=TIMEOUT)


@contextmanager
def serving(name: str, command: list[str], ready: str, folder: Path) -> Iterator[None]:
    """Runs a command of the environment until the block ends. `ready`: a URL that answers once the server does."""
    programs = environment(name)
    variables = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}  # MLflow starts uvicorn
    with (folder / "server.log").open("wb") as log:
        child = subprocess.Popen(
            [programs / command[0], *command[1:]], stdout=log, stderr=log, cwd=folder, env=variables
        )
        try:
            wait_for(ready, child, folder / "server.log")
            yield
        finally:
            child.terminate()
            child.wait(TIMEOUT)


def wait_for(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end and child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"does not serve: {log.read_text()}")
