"""The environment of processes that the control process starts: they run the package that runs here."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def environment() -> dict[str, str]:
    """Python finds the package that runs here, whatever is in the working directory."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def client_environment(admin: socket.socket, token: str) -> dict[str, str]:
    """Of commands that ask the admin API which listens on this socket."""
    host, port = admin.getsockname()[:2]
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url = f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
    return {**environment(), "CROSSFADE_ADMIN_URL": url, "CROSSFADE_ADMIN_TOKEN": token}
