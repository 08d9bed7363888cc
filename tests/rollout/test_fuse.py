"""The fuse looks at the latest outcomes of the challenger, and of the champion over the same time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.fuse import RecentOutcomes, evaluate_fuse
from crossfade.rollout.guard import is_failing
from crossfade.rollout.plan import Fuse
from crossfade.rollout.verdict import Verdict
from crossfade.scale import RECENT_KEPT
from crossfade.stats.counts import outcome_of

FUSE = Fuse(consecutive_errors=5, error_share=0.5, of_last=20)


def recent(*ticks: str) -> RecentOutcomes:
    """Outcomes by tick, one second apart: `x` is an error."""
    made = RecentOutcomes()
    for at, outcomes in enumerate(ticks):
        made.add([int(o == "x") for o in outcomes], float(at))
    return made


HEALTHY = recent(*["." * 50] * 10)


@pytest.mark.parametrize(
    ("challenger", "fails"),
    [
        (recent(), False),
        (recent("xxxx"), False),
        (recent("xxxxx"), True),
        (recent("xxx", "xx"), True),
        (recent("xxxxx."), False),
        (recent("x." * 9 + "x"), False),  # 19 outcomes are not 20
        (recent("x." * 10), True),
        (recent("x." * 9, ".."), False),
        (recent("x" * 4 + "." * 200), False),
        (recent("x" * 20, "." * 20), False),  # long before the latest 20
    ],
)
def test_errors_in_a_row_or_a_share_of_the_latest_outcomes_fail(challenger, fails):
    finding = evaluate_fuse(FUSE, challenger, HEALTHY)
    assert (finding.verdict if finding else None) == (Verdict.FAIL if fails else None)


def test_the_reason_contains_the_observed_value_and_the_limit():
    row = evaluate_fuse(FUSE, recent("xxxxxx"), HEALTHY)
    share = evaluate_fuse(FUSE, recent("x." * 10), HEALTHY)
    assert row is not None
    assert share is not None
    assert row.reason == "5 errors in a row; the limit is 5"
    assert share.reason == "10 of the last 20 requests failed; the limit is 50%"
    assert (row.check, share.n, share.estimate) == ("fuse", 20, 0.5)


@pytest.mark.parametrize(
    ("champion", "void"),
    [
        (recent("....", "xxxxx"), True),
        (recent("." * 400, "." * 40 + "xxxxx"), True),  # the outage began in the middle of the tick
        (recent("." * 40, "." * 40 + "xx.xx" + "." * 40), True),  # and ended in the same tick
        (recent("." * 40, "x...." * 40), False),  # as many errors, but never in a row
        (recent("xxxxx", "....."), False),  # errors before, none at the same time
        (recent(".....", "....x"), False),  # one error of the champion shows no common cause
        (recent("....."), False),  # no outcomes of the same time
        (recent(".....", ".x.xx"), True),  # half as often is enough
    ],
)
def test_the_finding_is_void_if_the_champion_fails_at_the_same_time(champion, void):
    finding = evaluate_fuse(FUSE, recent(".", "xxxxx"), champion)
    assert finding is not None
    assert finding.verdict is (Verdict.VOID if void else Verdict.FAIL)
    assert ("a common cause" in finding.reason) == void


def test_the_champion_is_compared_over_the_whole_time_of_the_challengers_errors():
    """The outage is over. The champion's latest outcomes do not show it, and the challenger has had no requests since."""
    finding = evaluate_fuse(FUSE, recent("x" * 10), recent("x" * 40, "." * 200, "." * 200))
    assert finding is not None
    assert finding.verdict is Verdict.VOID


@given(st.lists(st.text("x.", max_size=300), max_size=20), st.integers(1, RECENT_KEPT))
def test_last_returns_the_latest_outcomes_however_they_are_divided_into_ticks(ticks, n):
    outcomes, _ = recent(*ticks).last(n)
    assert outcomes == [o == "x" for o in "".join(ticks)][-n:]


def test_old_outcomes_are_dropped():
    long = recent(*["." * 100] * 50)
    assert sum(len(o) for _, o in long.ticks) < RECENT_KEPT + 100


def test_outcomes_with_a_key_are_read_by_their_lowest_bit():
    """A key's hash is a large number, which is no number of errors."""
    well, badly = RecentOutcomes(), RecentOutcomes()
    well.add([outcome_of(key << 20, False) for key in range(1, 21)], 0.0)
    badly.add([outcome_of(key << 20, True) for key in range(1, 21)], 0.0)
    assert evaluate_fuse(FUSE, well, HEALTHY) is None
    failed = evaluate_fuse(FUSE, badly, well)
    assert failed is not None
    assert failed.verdict is Verdict.FAIL
    common = evaluate_fuse(FUSE, badly, badly)
    assert common is not None
    assert common.verdict is Verdict.VOID
    assert (is_failing(badly, 1.0), is_failing(well, 1.0)) == (True, False)
