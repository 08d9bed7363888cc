"""Each test gets a harness. It runs on asyncio's event loop and on uvloop, which production uses.

Tests of what a turn of the loop could change also run as in a busy worker: all that may wait for its end does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from crossfade.dataplane import downstream
from tests.build import COMPILED
from tests.dataplane.plane import Harness, keep_busy, tracked_exchange

BUSY_TOO = (
    "back_pressure", "early_answers", "failing_mirrors", "failures", "half_close", "lingering", "mirror",
    "parting", "relay", "reuse", "slow_readers", "storm", "streaming", "trailers", "tunnel", "tunnel_ends",
    "tunnel_reloads", "wild_storm",
)  # fmt: skip


class BusyLoop(uvloop.Loop):
    """That of a worker which stays busy."""


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if item.path.stem.removeprefix("test_") in BUSY_TOO:
        factories["busy"] = BusyLoop
    if not COMPILED:  # the interpreted run covers both loops
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@pytest.fixture
async def harness(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    harness = Harness()
    if not COMPILED:
        monkeypatch.setattr(downstream, "Exchange", tracked_exchange(harness))
    if isinstance(harness.plane.loop, BusyLoop):
        keep_busy(monkeypatch)
    await harness.open()
    yield harness
    await harness.close()
