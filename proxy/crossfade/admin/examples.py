"""Examples of answers, by the name of the operation: what a real admin API has answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

FILE = Path(__file__).parent / "examples.json"


def read_examples() -> dict[str, Any]:
    return msgspec.json.decode(FILE.read_bytes(), type=dict[str, Any])
