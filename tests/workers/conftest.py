"""What several modules of tests of the workers start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from crossfade.workers import pool as pool_module
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
