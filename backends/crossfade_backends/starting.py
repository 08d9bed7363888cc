"""Starts a server of a version that outlives whoever started it, and tags the version with its endpoint."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from crossfade_backends import stages
from crossfade_backends.registry import RegistryError, read_metadata, version_directory

TIMEOUT = 120.0  # seconds; loading imports scikit-learn
LOG_FILE = "server.log"


def start(root: Path, name: str, version: str, host: str) -> str:
    """The URL, once the model answers. A server of this version that still answers is kept. Raises RegistryError."""
    running = read_metadata(root, name, version).tags.get("endpoint")
    if running is not None and _is_healthy(running):
        return running
    folder = version_directory(root, name, version)
    command = ["--registry", str(root), "--model", name, "--version", version, "--host", host, "--port", "0"]
    log = folder / LOG_FILE
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "crossfade_backends.server", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = _until_healthy(child, log)
    stages.tag(root, name, version, endpoint=url, pid=str(child.pid))
    return url


def _until_healthy(child: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end and child.poll() is None:
        said = log.read_text(errors="replace")
        if said.startswith("listening on ") and "\n" in said:
            url = said.split()[2]
            if _is_healthy(url):
                return url
        time.sleep(0.05)
    child.kill()
    child.wait()
    raise RegistryError(log, f"the server did not start: {log.read_text(errors='replace')[-500:]}")


def _is_healthy(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=5):
            return True
    except (URLError, OSError, ValueError):
        return False
