"""The environment of processes that the control process starts: they run the package that runs here."""

from __future__ import annotations

import os
from pathlib import Path


def environment() -> dict[str, str]:
    """Python finds the package that runs here, whatever is in the working directory."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
