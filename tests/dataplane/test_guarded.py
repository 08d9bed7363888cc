"""What workers count on a route with a guarded rollout only: the second of routing, keys, and endpoints."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.dataplane import panel
from crossfade.dataplane.outcome import Outcome
from crossfade.dataplane.recorder import Recorder
from crossfade.errors import Stage
from crossfade.http1.lines import Start
from crossfade.routing.ledger import hash_of
from crossfade.routing.router import CompiledRoute
from crossfade.stats.counts import ANY_SECOND, ERROR, REQUESTS, Cell, Counts, Keys, is_bad, key_of, outcome_of
from tests.dataplane.guarding import FAILING, GUARDED, KEYED, SALT, ask, hashes, take
from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.scripted import silent
from tests.dataplane.wire import get, post, wait_until

# ── the second of routing, and keys ───────────────────────────────────────────────────────────────


async def test_requests_are_counted_in_the_second_of_their_routing_with_their_keys(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", **GUARDED))
    before = int(monotonic())
    await ask(await harness.client(), b"ann", b"bob", b"", b"ann")
    await harness.quiet()
    cells = take(harness)
    after = int(monotonic())
    assert sum(cell.requests for cell in cells) == 4
    assert all(before <= cell.second <= after for cell in cells)
    assert [key for cell in cells for key in cell.keys.hashes] == hashes(b"ann", b"bob", b"ann")
    good = [outcome_of(key, False) for key in (*hashes(b"ann", b"bob"), None, *hashes(b"ann"))]
    assert [outcome for cell in cells for outcome in cell.recent] == good
    assert all(cell.by_endpoint == {} for cell in cells)  # there is only one


async def test_an_error_is_an_outcome_of_its_key(harness: Harness) -> None:
    harness.backend("v2", FAILING)
    harness.use(route("v2", **GUARDED))
    await ask(await harness.client(), b"ann", b"")
    await harness.quiet()
    cells = take(harness)
    assert [outcome for cell in cells for outcome in cell.recent] == [
        outcome_of(hash_of(b"ann", SALT), True),
        1,
    ]
    assert [key for cell in cells for key in cell.keys.hashes] == hashes(b"ann")


async def test_an_abandoned_request_has_no_key(harness: Harness) -> None:
    harness.backend("v2", silent)
    harness.use(route("v2", **GUARDED))
    client = await harness.client()
    await client.send(get(fields=[b"x-customer: ann"]))
    await wait_until(lambda: harness.plane.active, "the request is under way")
    client.close()
    await harness.quiet()
    (cell,) = take(harness)
    assert (cell.abandoned, cell.keys, cell.recent, cell.second > 0) == (1, Keys(), [], True)


async def test_a_route_without_a_guarded_rollout_counts_none_of_it(harness: Harness) -> None:
    harness.backend("v2", FAILING)
    harness.another_endpoint("v2")
    harness.use(route("v2", sticky=KEYED))
    await ask(await harness.client(), b"ann", b"bob", b"cid", b"dan")
    await harness.quiet()
    (cell,) = take(harness)
    assert (cell.requests, cell.second, cell.keys, cell.by_endpoint) == (4, ANY_SECOND, Keys(), {})
    assert set(cell.recent) <= {0, 1}


async def test_a_copy_counts_in_the_second_of_its_request(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v4", FAILING)
    harness.another_endpoint("v4", FAILING)
    harness.use(route("v2", mirrors=mirrored("v4"), **GUARDED))
    client = await harness.client()
    await client.send(post(b"{}", fields=[b"x-customer: ann"]))
    await client.answer()
    await harness.quiet()
    cells = {cell.backend: cell for cell in take(harness)}
    assert cells["v4"].second == cells["v2"].second > 0
    assert cells["v4"].keys.hashes == hashes(b"ann")
    assert list(cells["v4"].by_endpoint.values()) == [{REQUESTS: 1, ERROR: 1}]


async def test_above_the_limit_of_a_report_a_sample_of_the_keys_is_kept(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel, "KEYS_KEPT", 12)
    for name in ("v2", "v3"):
        harness.backend(name)
    split = route({"v2": 5000, "v3": 5000}, **GUARDED)
    harness.use(split)
    customers = [b"%d" % i for i in range(40)]
    client = await harness.client()

    async def kept() -> tuple[int, list[int]]:
        await ask(client, *customers)
        await harness.quiet()
        cells = take(harness)
        (halvings,) = {cell.keys.halvings for cell in cells}
        assert sum(cell.requests for cell in cells) == 40
        return halvings, sorted(key for cell in cells for key in cell.keys.hashes)

    halvings, first = await kept()
    expected = [key for key in hashes(*customers) if key >> (64 - halvings) == 0]
    assert (halvings > 0, first) == (True, sorted(expected))
    assert len(expected) <= 12
    assert await kept() == (halvings, first)  # the same keys in the next report
    customers = customers[:5]
    harness.use(replace(split, ledger=replace(split.ledger, version=2)))
    await ask(client, *customers)
    await harness.quiet()
    cells = take(harness)
    assert {cell.keys.halvings for cell in cells} == {0}
    assert sorted(key for cell in cells for key in cell.keys.hashes) == sorted(hashes(*customers))


def test_one_key_with_too_many_requests_ends_the_halving() -> None:
    cell = Cell("churn", "v2", "champion", 1, keys=Keys([0] * (panel.KEYS_KEPT + 1)))
    panel.Panel().fit([cell])
    assert cell.keys.halvings == 64
    cell.keys = Keys([7] * (panel.KEYS_KEPT + 1) + [1])
    panel.Panel().fit([cell])
    assert cell.keys == Keys([1], 62)


# ── endpoints ─────────────────────────────────────────────────────────────────────────────────────


def by_endpoint(cells: list[Cell]) -> dict[str, Counter[str]]:
    out: dict[str, Counter[str]] = {}
    for cell in cells:
        for endpoint, counted in cell.by_endpoint.items():
            out.setdefault(endpoint, Counter()).update(counted)
    return out


async def test_requests_and_errors_are_counted_by_endpoint(harness: Harness) -> None:
    good = harness.backend("v2")
    bad = harness.another_endpoint("v2", FAILING)
    harness.use(route("v2", **GUARDED))
    await ask(await harness.client(), *[b"%d" % i for i in range(30)])
    await harness.quiet()
    counted = by_endpoint(take(harness))
    n_good, n_bad = len(good.requests), len(bad.requests)
    assert counted == {
        f"127.0.0.1:{good.port}": Counter({REQUESTS: n_good}),
        f"127.0.0.1:{bad.port}": Counter({REQUESTS: n_bad, ERROR: n_bad}),
    }


async def test_a_fallback_answer_counts_at_the_endpoint_that_failed(harness: Harness) -> None:
    harness.backend("v1")
    harness.another_endpoint("v1")
    failing = [harness.backend("v2", FAILING), harness.another_endpoint("v2", FAILING)]
    harness.use(route("v2", fallback="v1", pure=True, **GUARDED))
    await ask(await harness.client(), b"ann")
    await harness.quiet()
    (asked,) = [f"127.0.0.1:{backend.port}" for backend in failing if backend.requests]
    assert by_endpoint(take(harness)) == {asked: Counter({REQUESTS: 1, ERROR: 1})}


@pytest.mark.parametrize("fallback", [None, "v1"])
async def test_a_request_that_reached_no_endpoint_has_an_empty_one(
    harness: Harness, fallback: str | None
) -> None:
    harness.backend("v1")
    harness.backend("v2", max_in_flight=0)
    harness.another_endpoint("v2")
    harness.use(route("v2", fallback=fallback, pure=True, **GUARDED))
    await ask(await harness.client(), b"ann")
    await harness.quiet()
    (cell,) = take(harness)
    assert cell.by_endpoint == {"": {REQUESTS: 1} | ({ERROR: 1} if cell.errors else {})}
    assert cell.failures == {"overload": 1}


# ── cells by second and cells without ─────────────────────────────────────────────────────────────


QUARTERS = st.integers(400, 412).map(lambda n: n / 4)  # sums of these times have no rounding
KEYS = st.none() | st.integers(1, 4) | st.integers(0, 2**64 - 1)


@st.composite
def exchanges(draw: st.DrawFn) -> Outcome:
    started = draw(QUARTERS)
    ended = started + draw(st.integers(0, 12)) / 4
    bad, left = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    status, stages = (200, ()) if not bad and not left else (502, (Stage.CONNECT,))
    early = draw(st.integers(0, 2))
    outcome = Outcome(b"abc", b"10.0.0.1", Start(b"POST", b"/", b"1"), started, ended, status)
    outcome.stages = stages
    outcome.first_byte_at = ended if not bad else 0.0
    outcome.key, outcome.asked = draw(KEYS), draw(st.sampled_from([None, "", "a:1"]))
    outcome.blamed, outcome.abandoned = bad, left
    outcome.slow = outcome.early = early
    return outcome


def recorded(made: list[Outcome], guarded: bool, timed: bool) -> Counts:
    limits: dict[str, Any] = {"limits": {"v2": (("p50", 0.5), ("p99", 1.0))}} if timed else {}
    compiled = CompiledRoute(route("v2", guarded=guarded, **limits))
    (assigned,) = compiled.assignable
    recorder = Recorder()
    for i, outcome in enumerate(made):
        outcome.route, outcome.assigned = compiled, assigned
        slow = outcome.ended_at - outcome.started_at > assigned.first_limit or outcome.slow > 0
        if outcome.stages or slow:
            recorder.record(outcome, assigned)
        else:
            times = outcome.started_at, outcome.first_byte_at, outcome.ended_at
            recorder.usual(assigned, *times, outcome.key, None)
        if i % 5 == 4:
            recorder.flush()
    return recorder.take()


def in_any_order(cell: Cell) -> Cell:
    """Without what guarded routes count in addition, and with lists sorted: cells are added by second, not by time."""
    events = {kind: replace(met, keys=sorted(met.keys)) for kind, met in cell.events.items()}
    recent = sorted(map(is_bad, cell.recent))
    return replace(cell, events=events, recent=recent, second=ANY_SECOND, keys=Keys(), by_endpoint={})


@given(st.lists(exchanges(), min_size=1, max_size=30), st.booleans())
def test_cells_of_all_seconds_add_up_to_the_cell_without_seconds(made: list[Outcome], timed: bool) -> None:
    (plain,) = recorded(made, False, timed).cells
    cells = recorded(made, True, timed).cells
    total = Cell.of(plain.key)
    for cell in cells:
        total.merge(cell)
    assert in_any_order(total) == in_any_order(plain)
    counted = [one for one in made if not one.abandoned]
    for cell in cells:
        mine = [one for one in counted if int(one.started_at) == cell.second]
        assert cell.requests - cell.abandoned == len(mine)
        assert Counter(cell.keys.hashes) == Counter(one.key for one in mine if one.key is not None)
        assert [is_bad(outcome) for outcome in cell.recent] == [one.blamed for one in mine]
        assert [key_of(outcome) for outcome in cell.recent] == [(one.key or 0) & -2 for one in mine]
