"""A stage for each test, on asyncio's own event loop and on uvloop, which production runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from crossfade.dataplane import downstream
from tests.build import COMPILED
from tests.dataplane.plane import Harness, accepted_by


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if COMPILED:  # that it runs on both, the interpreted one has shown
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def harness(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    harness = Harness()
    if not COMPILED:
        monkeypatch.setattr(downstream, "Exchange", accepted_by(harness))
    await harness.open()
    yield harness
    await harness.close()
