"""Without workers, the data plane's own process reports what waits, and so do the workers of the proxy before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from crossfade.control.logged_batches import LoggedBatches
from crossfade.stats.counts import Counts
from crossfade.workers.direct import DirectSeam

OURS = {"r": {"v2": {7: 1}}}


def plane() -> Any:
    """Of a process with one request under way."""
    recorder = SimpleNamespace(
        samples=SimpleNamespace(take=list),
        logged=SimpleNamespace(take=list),
        counts=SimpleNamespace(add=lambda counts: None),
    )
    return SimpleNamespace(take=lambda: Counts(waiting=OURS), recorder=recorder)


async def test_waiting_requests_are_its_own_and_those_of_workers_that_leave() -> None:
    succession: Any = SimpleNamespace(
        leaving=SimpleNamespace(logged=LoggedBatches(), links=[SimpleNamespace(waiting=OURS)])
    )
    assert DirectSeam(plane()).take().waiting == OURS
    assert DirectSeam(plane(), succession=succession).take().waiting == {"r": {"v2": {7: 2}}}
    assert OURS == {"r": {"v2": {7: 1}}}
