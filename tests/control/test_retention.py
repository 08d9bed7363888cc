"""What a reload takes out of the configuration is forgotten: after two hundred reloads little is kept."""

from __future__ import annotations

from crossfade.admin.metrics import render
from crossfade.stats.counts import Cell, Counts, EjectionCount, MirrorCount
from crossfade.stats.observation import Observation

from .harness import Harness

HEAD = 'listen: 127.0.0.1:0\nstate: "sqlite::memory:"\n'


def file_of(generation: int) -> str:
    """Everything has a name of its own in each generation, as with generated configurations."""
    a, b = f"a{generation}", f"b{generation}"
    return f"""
backends:
  {a}: {{endpoints: [http://127.0.0.1:9002], health: false}}
  {b}: {{endpoints: [http://127.0.0.1:9003], health: false}}
  steady: {{endpoints: [http://127.0.0.1:{20_000 + generation}], health: false}}
routes:
  - {{name: r{generation}, match: {{path: /p}}, split: {{{a}: 50%, {b}: 30%, steady: 20%}}}}
"""


def counts_of(generation: int) -> Counts:
    route, backend = f"r{generation}", f"a{generation}"
    cell = Cell(route, backend, "member", 1, requests=1, codes={200: 1})
    ejected = EjectionCount("steady", f"http://127.0.0.1:{20_000 + generation}", 1)
    unread = {f"{route}:not JSON": 1}
    return Counts([cell], [MirrorCount(route, backend, "sent", 1)], {}, {}, [ejected], unread)


def generations_in(page: str) -> set[int]:
    return {
        generation
        for generation in range(200)
        for name in (f'"r{generation}"', f'"a{generation}"', f":{20_000 + generation}")
        if name in page
    }


async def test_two_hundred_reloads_leave_no_series_of_what_is_gone() -> None:
    harness = Harness()
    for generation in range(200):
        await harness.load(file_of(generation), HEAD)
        harness.seam.counts = counts_of(generation)
        harness.seam.observations.add(
            [Observation("id", 0.0, f"r{generation}", "a", "a", 1, None, 0.5, None)]
        )
        await harness.tick()
    totals = harness.controller.state.totals
    kept = (totals.cells, totals.mirrors, totals.ejections, totals.unread, harness.controller.journal.decided)
    assert [len(table) for table in kept] == [2, 2, 2, 2, 3]
    assert len(harness.seam.observations.by_route) == len(harness.seam.observations.received) == 2
    page, _ = render(harness.views.metrics(harness.now), "")
    assert generations_in(page.decode()) == {198, 199}


async def test_counts_of_what_stays_go_on_over_reloads() -> None:
    harness = Harness()
    await harness.load(file_of(1), HEAD)
    for _ in range(3):
        harness.seam.counts = counts_of(1)
        await harness.tick()
        await harness.load(file_of(1), HEAD)
    totals = harness.controller.state.totals
    assert [cell.requests for cell in totals.cells.values()] == [3]
    assert list(totals.mirrors.values()) == list(totals.ejections.values()) == [3]
    assert totals.unread == {"r1:not JSON": 3}


async def test_the_last_counts_of_a_removed_route_are_shown_until_the_next_reload() -> None:
    harness = Harness()
    await harness.load(file_of(1), HEAD)
    await harness.load(file_of(2), HEAD)
    harness.seam.counts = counts_of(1)  # of requests that were in flight
    await harness.tick()
    page = render(harness.views.metrics(harness.now), "")[0].decode()
    assert 'crossfade_decisions_total{action="remove",route="r1"} 1.0' in page
    assert 'crossfade_requests_total{backend="a1",code="200",role="member",route="r1"} 1.0' in page
