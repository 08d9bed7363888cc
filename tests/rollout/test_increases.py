"""Events against the champion at the same time, and against its share before where the two never share the traffic."""

from __future__ import annotations

import pytest

from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence, gather
from crossfade.rollout.verdict import Verdict
from crossfade.stats.counts import Cell, Events

from .counting import CONTEXT, check

REJECTED = check("rejected", max_increase="1%")
UNREADABLE = check("unreadable", max_increase="1%")


def side(backend: str, n: int, rejected: int = 0, unreadable: int = 0, version: int = 2) -> Cell:
    made = Cell(
        "r", backend, "champion" if backend == "v2" else "challenger", version, requests=n, read=n, answers=n
    )
    made.rejections = {"404": rejected} if rejected else {}
    made.unreadable = unreadable
    return made


def counted(*cells: Cell, share: float = 0.5) -> Evidence:
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, share)
    gather(made, cells, (REJECTED, UNREADABLE))
    return made


@pytest.mark.parametrize("question", [REJECTED, UNREADABLE])
@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (400, 0, Verdict.FAIL),
        (120, 120, Verdict.PASS),
        (0, 400, Verdict.PASS),
        (4, 0, Verdict.PASS),
        (8, 0, Verdict.UNDECIDED),
    ],
)
def test_the_share_is_compared_with_the_champion_s(question, ours, theirs, verdict):
    made = counted(side("v3", 400, ours, ours), side("v2", 400, theirs, theirs))
    assert evaluate_check(question, made, CONTEXT).verdict is verdict


@pytest.mark.parametrize(
    ("before", "ours", "verdict", "limit"),
    [
        ((0, 0), 400, Verdict.FAIL, "76%"),  # nothing is known of the champion: most is allowed
        ((0, 0), 120, Verdict.PASS, "76%"),
        ((10_000, 0), 120, Verdict.FAIL, "1.22%"),
        ((10_000, 3000), 120, Verdict.PASS, "32.2%"),
        ((100, 0), 4, Verdict.PASS, "18.2%"),
    ],
)
def test_without_a_champion_at_the_same_time_its_share_before_counts(before, ours, verdict, limit):
    made = counted(side("v3", 400, ours), share=1.0)
    made.add_before(side("v2", *before))
    finding = evaluate_check(REJECTED, made, CONTEXT)
    assert finding.verdict is verdict
    assert (
        f"the limit is {limit}, from {before[1]} of the champion's {before[0]} requests before"
        in finding.reason
    )


def test_answers_of_the_champion_before_the_challenger_has_traffic_count_as_before():
    made = Evidence("v2", "v3")
    gather(made, [side("v2", 500, 20, version=1)], (REJECTED,))
    made.open("r", 2, 0, 1.0)
    gather(made, [side("v2", 100, 5), side("v3", 100)], (REJECTED,))
    assert (made.before["rejected"].all, made.before["rejected"].n) == (25, 600)


def test_a_key_that_is_rejected_again_and_again_counts_once():
    repeated = side("v3", 400, 60)
    repeated.events["rejected"] = Events(keyed=60, keys=[7] * 60)
    finding = evaluate_check(REJECTED, counted(repeated, side("v2", 400)), CONTEXT)
    assert finding.verdict is Verdict.UNDECIDED
    assert finding.reason.startswith(
        "60 of 400 requests (15%) were rejected in step 1 of 1: 60 × HTTP 404, against 0%"
    )


def test_a_check_that_comes_later_counts_from_its_ledger_version_on():
    made = counted(side("v3", 400, 400), side("v2", 400))
    made.open("r", 3, 0, 0.5)
    made.since = {REJECTED.title: 3}
    gather(made, [side("v3", 100, version=3), side("v2", 100, version=3)], (REJECTED,))
    finding = evaluate_check(REJECTED, made, CONTEXT)
    assert (finding.verdict, finding.n) == (Verdict.PASS, 100)


def test_a_late_change_is_told_with_the_numbers_of_the_late_part():
    """On average over the step the limit is kept, so the average is no reason for a FAIL."""
    made = counted(side("v3", 20_000), side("v2", 20_000))
    for _ in range(40):
        gather(made, [side("v3", 50, 5), side("v2", 50)], (REJECTED,))
    finding = evaluate_check(REJECTED, made, CONTEXT)
    assert finding.verdict is Verdict.FAIL
    assert finding.estimate is not None and finding.estimate < 0.01
    latest = finding.reason.partition("%")[0]
    assert float(latest) >= 9
    assert (
        "of the latest 2000 requests were rejected, against 0% of the champion's 2000; allowed is 1% more"
        in finding.reason
    )


def test_a_late_change_without_a_champion_is_told_with_the_numbers_of_the_late_part():
    made = counted(side("v3", 20_000), share=1.0)
    made.add_before(side("v2", 10_000))
    for _ in range(40):
        gather(made, [side("v3", 50, 5)], (REJECTED,))
    finding = evaluate_check(REJECTED, made, CONTEXT)
    assert finding.verdict is Verdict.FAIL
    assert finding.reason.startswith(
        "10% of the latest 2000 requests were rejected (all in all: 200 of 22000 requests"
    )


def test_the_watch_after_a_canary_is_compared_with_the_champion_so_far():
    """The comparison of an earlier step says nothing of what the challenger answers now."""
    made = counted(side("v3", 400), side("v2", 4000, 40))
    made.open("r", 3, 1, 1.0)
    gather(made, [side("v3", 300, 150, version=3)], (REJECTED,))
    finding = evaluate_check(REJECTED, made, CONTEXT._replace(step=1, steps=1))
    assert finding.verdict is Verdict.FAIL
    assert finding.reason.startswith(
        "150 of 300 requests (50%) were rejected in the watch: 150 × HTTP 404; nobody is left to compare with, so the limit is "
    )
    assert "from 40 of the champion's 4000 requests before" in finding.reason
