"""A model server as a process: its command, the URL that its log says, and whether it answers."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.error import URLError

from crossfade_backends.admin_client import DIRECT

_SAID = "listening on "


def server_command(root: Path, name: str, version: str, host: str, port: int) -> list[str]:
    """`port` 0: the system chooses it."""
    model = ["--registry", str(root), "--model", name, "--version", version]
    return [
        *(sys.executable, "-m", "crossfade_backends.server"),
        *model,
        *("--host", host, "--port", str(port)),
    ]


def url_said(log: Path) -> str:
    """Where the server listens; "" until it says so in a whole line of its log."""
    said = log.read_text(errors="replace") if log.exists() else ""
    line = next((line for line in said.splitlines(keepends=True) if line.startswith(_SAID)), "")
    return line.split()[2] if line.endswith("\n") else ""


def answers(url: str, within: float) -> bool:
    """Whether a GET is answered without an error; `within`: seconds."""
    try:
        with DIRECT.open(url, timeout=within):
            return True
    except (URLError, OSError, ValueError):
        return False
