"""Comparisons are saved with the state, and begin anew with another attempt."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from crossfade.control import kept_comparisons
from crossfade.control.store import Store
from crossfade.control.views import Verb
from crossfade.observer.messages import Observed, Pairs
from crossfade.quality.compared import Compared
from crossfade.quality.table import ComparisonTable
from crossfade.routing.snapshot import Route
from crossfade.workers.observer_process import add_pairs
from tests.control.harness import CANARY, HEADING, NOW, Harness

CHANGED = Compared("abc", NOW, None, True, None, 0.5)


def table() -> ComparisonTable:
    made = ComparisonTable()
    made.add(CHANGED, 0.0)
    return made


def pairs(harness: Harness) -> list[int]:
    return [each.table.sums.n for each in harness.seam.comparisons.of("churn")]


SEGMENTED = CANARY.replace(
    "    fallback: v2\n", "    fallback: v2\n    prediction: {score: p, segment: [country], sample: 100%}\n"
)


def arrive(harness: Harness, routed: Route) -> None:
    """One pair, routed and read as this snapshot of the route says."""
    as_read = "" if routed.prediction is None else routed.prediction.as_read
    part = Pairs("churn", "v2", "v3", routed.ledger.version, as_read, table())
    add_pairs(harness.seam.comparisons, Observed(pairs=[part]), NOW)


async def running(store: Store) -> Harness:
    harness = Harness(store)
    await harness.load()
    await harness.tick()
    return harness


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
async def test_a_start_goes_on_with_the_comparisons_of_the_one_before(tmp_path: Path, closed: bool) -> None:
    state = f"sqlite:{tmp_path}/state.db"
    harness = await running(Store.open(state))
    harness.seam.comparisons.add("churn", "v3", "v2", table(), NOW)
    if closed:
        await harness.controller.close()
    else:
        await harness.tick(seconds=kept_comparisons.INTERVAL)
    harness.store.close()
    after = await running(Store.open(state))
    assert pairs(after) == [1]
    after.seam.comparisons.add("churn", "v3", "v2", table(), NOW)
    assert pairs(after) == [2]
    await after.controller.close()
    after.store.close()


async def test_saved_comparisons_that_cannot_be_read_fail_no_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = f"sqlite:{tmp_path}/state.db"
    store = Store.open(state)
    await asyncio.to_thread(store.save_comparisons, b"\xc1")
    harness = await running(store)
    assert pairs(harness) == []
    assert "saved comparisons cannot be read" in caplog.text
    await harness.controller.close()
    store.close()


async def test_another_attempt_begins_with_an_empty_comparison() -> None:
    harness = await running(Store.open("sqlite::memory:"))
    harness.seam.comparisons.add("churn", "v3", "v2", table(), NOW)
    await harness.controller.command("churn", Verb.ABORT, "ann", harness.wall)
    assert pairs(harness) == [1], "the ended attempt can be looked at"
    await harness.controller.command("churn", Verb.RETRY, "ann", harness.wall)
    assert pairs(harness) == [0]


async def test_late_pairs_of_an_ended_attempt_do_not_join_the_next() -> None:
    harness = await running(Store.open("sqlite::memory:"))
    comparisons, seen = harness.seam.comparisons, harness.seam.published[-1].routes[0]
    arrive(harness, seen)
    assert pairs(harness) == [1]
    await harness.controller.command("churn", Verb.ABORT, "ann", harness.wall)
    arrive(harness, seen)
    assert pairs(harness) == [2]
    await harness.controller.command("churn", Verb.RETRY, "ann", harness.wall)
    arrive(harness, seen)
    assert [each.table.sums.n for each in comparisons.of("churn")] == [0]
    await harness.tick()
    arrive(harness, harness.seam.published[-1].routes[0])
    assert pairs(harness) == [1]


async def test_late_pairs_that_were_read_as_before_a_reload_do_not_join_those_after_it() -> None:
    harness = await running(Store.open("sqlite::memory:"))
    await harness.load(SEGMENTED)
    seen = harness.seam.published[-1].routes[0]
    arrive(harness, seen)
    assert pairs(harness) == [1]
    await harness.load(SEGMENTED.replace("country", "plan"))
    arrive(harness, seen)
    assert pairs(harness) == [0]


async def test_an_attempt_that_a_reload_begins_starts_empty() -> None:
    harness = await running(Store.open("sqlite::memory:"))
    arrive(harness, harness.seam.published[-1].routes[0])
    await harness.load(HEADING)
    assert pairs(harness) == [1]
    await harness.load()
    assert pairs(harness) == [0]


async def test_an_edit_of_segments_while_the_proxy_is_stopped_starts_empty(tmp_path: Path) -> None:
    state = f"sqlite:{tmp_path}/state.db"
    left = []
    for yaml in (
        SEGMENTED,
        SEGMENTED.replace("sample: 100%", "sample: 10%"),
        SEGMENTED.replace("country", "plan"),
    ):
        harness = Harness(Store.open(state))
        await harness.load(yaml)
        left.append(pairs(harness))
        arrive(harness, harness.seam.published[-1].routes[0])
        await harness.controller.close()
        harness.store.close()
    assert left == [[], [1], [0]]


async def test_comparisons_of_a_route_that_is_gone_are_forgotten_at_the_load_after_the_next() -> None:
    harness = await running(Store.open("sqlite::memory:"))
    harness.seam.comparisons.add("churn", "v3", "v2", table(), NOW)
    other = "\nroutes:\n  - name: other\n    match: {path: /o}\n    split: {v2: 100%}\n"
    await harness.load(other)
    assert pairs(harness) == [1]
    await harness.load(other)
    assert pairs(harness) == []
