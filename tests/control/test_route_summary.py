"""The summary: who is in charge since when, what the last change brought, and how well it serves."""

from __future__ import annotations

import msgspec
import pytest

from crossfade.control.decision_marks import Mark, Marks, marks_of
from crossfade.control.history_file import DaySums
from crossfade.control.history_points import COPIES, LIVE, series
from crossfade.control.route_summary import SummaryRow, in_charge_since, summary_row
from crossfade.control.views import Verb
from crossfade.stats.histogram import Histogram

from .harness import CANARY, Harness

V2, V3, V4 = series(LIVE, "v2"), series(LIVE, "v3"), series(COPIES, "v4")


def sums(
    requests: int = 100, errors: int = 0, slow: int = 0, fell_back: int = 0, abandoned: int = 0
) -> DaySums:
    durations = Histogram.of([0.03] * (requests - slow) + [0.9] * slow)
    return DaySums([float(requests), float(errors), float(abandoned), float(fell_back)], durations)


def row(by: dict[str, DaySums], slo: str | None = None) -> SummaryRow:
    return summary_row("churn", "v2", slo, [], by, 0.0)


def test_availability_counts_what_clients_got() -> None:
    assert row({V2: sums(200, errors=10)}).availability == 0.95
    assert row({V2: sums(200, errors=10, fell_back=8)}).availability == pytest.approx(0.99)
    assert row({V2: sums(200, errors=10, abandoned=100)}).availability == 0.9
    assert row({V2: sums(100), V3: sums(100, errors=10)}).availability == 0.95
    assert row({}).availability is None


def test_copies_serve_nobody() -> None:
    found = row({V2: sums(10), V4: sums(90, errors=90)})
    assert (found.requests, found.errors, found.availability) == (10, 0, 1.0)


@pytest.mark.parametrize(
    ("slo", "target", "met"),
    [("interactive", 0.05, 0.98), ("relaxed", 0.5, 0.98), ("batch", 5.0, 1.0), (None, None, None)],
)
def test_latency_against_its_target(slo: str | None, target: float | None, met: float | None) -> None:
    latency = row({V2: sums(100, slow=2)}, slo).latency
    assert (latency.class_, latency.target, latency.met_share) == (slo, target, met)
    assert latency.p99 == pytest.approx(0.9, rel=0.02)
    assert set(msgspec.to_builtins(latency)) == {"class", "target", "p99", "met_share"}


def test_without_requests_no_target_is_met_or_missed() -> None:
    latency = row({}, "interactive").latency
    assert (latency.p99, latency.met_share) == (None, None)


def mark(number: int, action: str, leader: str, before: str) -> Mark:
    return Mark(number, float(number), "churn", action, "", leader, before, None)


def test_steps_put_nobody_in_charge() -> None:
    start = mark(1, "start", "v2", "")
    steps = [mark(2, "begin", "v2", "v2"), mark(3, "advance", "v3", "v2"), mark(4, "abort", "v2", "v3")]
    assert in_charge_since("v2", [start, *steps]) == 1.0
    assert in_charge_since("v3", [start, *steps[:2], mark(4, "promote", "v3", "v3")]) == 4.0
    assert (
        in_charge_since("v2", [start, mark(2, "promote", "v3", "v2"), mark(3, "rollback", "v2", "v3")]) == 3.0
    )
    assert in_charge_since("v3", [start, mark(2, "split", "v3", "v2"), mark(3, "split", "v3", "v3")]) == 2.0


def test_where_the_journal_was_pruned_nobody_knows() -> None:
    assert in_charge_since("v2", [mark(9, "pause", "v2", "v2")]) is None
    assert in_charge_since("v2", []) is None
    assert in_charge_since("v9", [mark(1, "start", "v2", "")]) is None


async def test_a_rollout_and_its_rollback() -> None:
    harness = Harness()
    await harness.load()
    began = harness.now
    await harness.run(3)
    marks = Marks(harness.controller.journal)

    async def shown() -> SummaryRow:
        found = await marks.read()
        champion = harness.controller.state.route("churn").champion
        return summary_row("churn", champion, None, found["churn"], {}, 0.0)

    first = await shown()
    assert (first.champion, first.since, first.exposures, first.last_change) == ("v2", began, 1, None)
    promoted = harness.now
    await harness.controller.command("churn", Verb.PROMOTE, "kim", harness.now, "it is better")
    second = await shown()
    assert (second.champion, second.since, second.promotions) == ("v3", promoted, 1)
    assert second.last_change is not None
    assert (second.last_change.action, second.last_change.reason) == ("promote", "it is better")
    await harness.tick()
    await harness.controller.command("churn", Verb.ROLLBACK, "kim", harness.now)
    third = await shown()
    assert (third.champion, third.since, third.rollbacks, third.aborts) == ("v2", harness.now, 1, 0)


async def test_what_a_change_brought() -> None:
    harness = Harness()
    checks = "      checks:\n        - {metric: kpi, name: conversion, min_increase: 0}"
    yaml = CANARY.replace("      checks:", checks).replace(
        "    fallback: v2\n", "    fallback: v2\n    feedback: {horizon: 1h}\n"
    )
    await harness.load(yaml)
    await harness.run(3)
    reader = harness.store.reader
    await harness.controller.command("churn", Verb.PROMOTE, "kim", harness.now)
    (text,) = reader.execute("SELECT record FROM decisions ORDER BY id DESC LIMIT 1").fetchone()
    record = msgspec.json.decode(text)
    verdict = next(v for v in record["evidence"]["verdicts"] if v["check"].startswith("kpi"))
    assert verdict["check"].split()[1] == "conversion"
    verdict |= {"estimate": 0.02, "interval": [0.01, 0.03]}
    reader.execute(
        "UPDATE decisions SET record = ? WHERE id = ?", (msgspec.json.encode(record).decode(), record["id"])
    )
    found = (await Marks(harness.controller.journal).read())["churn"][-1]
    assert found.kpi is not None
    assert (found.kpi.name, found.kpi.estimate, found.kpi.interval) == ("conversion", 0.02, (0.01, 0.03))


async def test_marks_of_a_route_in_a_time() -> None:
    harness = Harness()
    await harness.load()
    await harness.run(3)
    await harness.controller.command("churn", Verb.PAUSE, "kim", harness.now, "lunch")
    journal = harness.controller.journal
    found = await marks_of(journal, "churn", 0, harness.now + 1)
    assert [m.action for m in found] == await harness.actions()
    assert (found[-1].action, found[-1].reason, found[-1].at) == ("pause", "lunch", harness.now)
    assert await marks_of(journal, "churn", 0, harness.now) == found[:-1]
    assert await marks_of(journal, "other", 0, harness.now + 1) == []


async def test_many_decisions_are_read_once() -> None:
    harness = Harness()
    await harness.load()
    await harness.run(2)
    for i in range(130):
        for verb in (Verb.PAUSE, Verb.RESUME):
            await harness.controller.command("churn", verb, "kim", harness.now, str(i))
    marks = Marks(harness.controller.journal)
    first = await marks.read()
    assert [m.action for m in first["churn"]] == await harness.actions()
    await harness.controller.command("churn", Verb.PAUSE, "kim", harness.now)
    assert len((await marks.read())["churn"]) == len(await harness.actions())
