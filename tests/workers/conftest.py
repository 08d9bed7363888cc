"""Pools, lock holders and workers that several modules test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from crossfade.workers import pool as pool_module
from crossfade.workers.state_lock import StateLock
from tests.workers.holder import Holder
from tests.workers.kept_worker import Kept
from tests.workers.stage import Stage


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(pool_module, "RESPAWN_AFTER", 0.0)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("HOME", "/home")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    made = Stage()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", made.spawn)
    yield made
    await made.close()


@pytest.fixture
async def holder(tmp_path: Path) -> AsyncIterator[Holder]:
    made = Holder(str(tmp_path / "state.db"))
    made.handover.listen()
    yield made
    await made.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    made = Kept()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[StateLock]:
    """On a state that this process holds."""
    made = StateLock(str(tmp_path / "state.db"))
    yield made
    made.release()
