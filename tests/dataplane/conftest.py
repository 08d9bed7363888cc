"""Each test gets a harness. It runs on asyncio's event loop and on uvloop, which production uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from crossfade.dataplane import downstream
from tests.build import COMPILED
from tests.dataplane.plane import Harness, tracked_exchange


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if COMPILED:  # the interpreted run covers both loops
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def harness(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    harness = Harness()
    if not COMPILED:
        monkeypatch.setattr(downstream, "Exchange", tracked_exchange(harness))
    await harness.open()
    yield harness
    await harness.close()
