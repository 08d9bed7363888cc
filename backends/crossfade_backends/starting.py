"""Starts a server of a version that outlives whoever started it, and tags the version with its process and its endpoint."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from crossfade_backends import stages
from crossfade_backends.registry import RegistryError, read_metadata, version_directory
from crossfade_backends.server_process import answers, server_command, url_said

TIMEOUT = 120.0  # seconds; loading imports scikit-learn
PATIENCE = 5.0  # seconds for an answer of /health
LOG_FILE = "server.log"


def start(root: Path, name: str, version: str, host: str) -> str:
    """The URL, once the model answers. A server of this version that still answers is kept. Raises RegistryError."""
    running = read_metadata(root, name, version).tags.get("endpoint")
    if running is not None and answers(f"{running}/health", PATIENCE):
        return running
    folder = version_directory(root, name, version)
    log = folder / LOG_FILE
    with log.open("wb") as output:
        child = subprocess.Popen(
            server_command(root, name, version, host, 0),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    stages.tag(
        root, name, version, pid=str(child.pid)
    )  # at once: whoever ends this command can end the server too
    url = _until_healthy(child, log)
    stages.tag(root, name, version, endpoint=url)
    return url


def _until_healthy(child: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end and child.poll() is None:
        url = url_said(log)
        if url and answers(f"{url}/health", PATIENCE):
            return url
        time.sleep(0.05)
    child.kill()
    child.wait()
    raise RegistryError(log, f"the server did not start: {log.read_text(errors='replace')[-500:]}")
