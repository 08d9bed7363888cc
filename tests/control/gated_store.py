"""A store on disk whose writes wait at a gate, or fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossfade.control.database import StoreError
from crossfade.control.store import Store


class GatedStore(Store):
    """A write waits while `gate` is clear, and raises while `broken`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.broken = False
        self.writes = 0
        self.gate = threading.Event()
        self.gate.set()
        self.at_gate = threading.Event()

    def pass_gate(self) -> None:
        self.at_gate.set()
        self.gate.wait()
        self.at_gate.clear()
        self.writes += 1
        if self.broken:
            raise StoreError("disk full")

    def commit(self, *arguments: Any) -> None:
        self.pass_gate()
        super().commit(*arguments)

    def save_evidence(self, *arguments: Any) -> None:
        self.pass_gate()
        super().save_evidence(*arguments)

    async def reach_gate(self) -> None:
        """Returns when a write waits at the gate."""
        assert await asyncio.to_thread(self.at_gate.wait, 30)


@contextmanager
def gated_store(directory: Path) -> Iterator[GatedStore]:
    made = GatedStore.open(f"sqlite:{directory}/state.db")
    assert isinstance(made, GatedStore)
    try:
        yield made
    finally:
        made.gate.set()
        made.close()
