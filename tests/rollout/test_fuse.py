"""The fuse looks at the latest outcomes, and at the champion over the same time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.fuse import RecentOutcomes, evaluate_fuse
from crossfade.rollout.plan import Fuse
from crossfade.rollout.verdict import Verdict
from crossfade.scale import RECENT_KEPT

FUSE = Fuse(consecutive_errors=5, error_share=0.5, of_last=20)


def recent(*ticks: str) -> RecentOutcomes:
    """Outcomes by tick, one second apart: `x` is an error."""
    made = RecentOutcomes()
    for at, outcomes in enumerate(ticks):
        made.add([o == "x" for o in outcomes], float(at))
    return made


WELL = recent(*["." * 50] * 10)


@pytest.mark.parametrize(
    ("challenger", "blows"),
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
        (recent("x" * 20, "." * 20), False),  # long over
    ],
)
def test_it_blows_on_errors_in_a_row_and_on_a_share_of_the_last(challenger, blows):
    verdict = evaluate_fuse(FUSE, challenger, WELL)
    assert (verdict.verdict if verdict else None) == (Verdict.FAIL if blows else None)


def test_it_says_what_it_saw_and_what_the_limit_is():
    row = evaluate_fuse(FUSE, recent("xxxxxx"), WELL)
    share = evaluate_fuse(FUSE, recent("x." * 10), WELL)
    assert row is not None
    assert share is not None
    assert row.reason == "5 errors in a row; the limit is 5"
    assert share.reason == "10 of the last 20 requests failed; the limit is 50%"
    assert (row.check, share.n, share.estimate) == ("fuse", 20, 0.5)


@pytest.mark.parametrize(
    ("champion", "holds"),
    [
        (recent("....", "xxxxx"), True),
        (recent("." * 400, "." * 40 + "xxxxx"), True),  # the outage began in the middle of the tick
        (recent("." * 40, "." * 40 + "xx.xx" + "." * 40), True),  # and ended in the same tick
        (recent("." * 40, "x...." * 40), False),  # that many errors, but never at a time
        (recent("xxxxx", "....."), False),  # sick before, well at the same time
        (recent(".....", "....x"), False),  # one error makes no sick champion
        (recent("....."), False),  # nothing is known of the same time
        (recent(".....", ".x.xx"), True),  # half as often is often enough
    ],
)
def test_it_holds_where_the_champion_fails_at_the_same_time(champion, holds):
    verdict = evaluate_fuse(FUSE, recent(".", "xxxxx"), champion)
    assert verdict is not None
    assert verdict.verdict is (Verdict.VOID if holds else Verdict.FAIL)
    assert ("a common cause" in verdict.reason) == holds


def test_the_champion_is_looked_at_over_all_the_time_of_the_challenger_s_row():
    """Of an outage that is over, the champion's latest outcomes know nothing; the challenger was not asked since."""
    verdict = evaluate_fuse(FUSE, recent("x" * 10), recent("x" * 40, "." * 200, "." * 200))
    assert verdict is not None
    assert verdict.verdict is Verdict.VOID


@given(st.lists(st.text("x.", max_size=300), max_size=20), st.integers(1, RECENT_KEPT))
def test_the_tail_is_the_end_of_all_outcomes_however_they_came(ticks, n):
    outcomes, _ = recent(*ticks).last(n)
    assert outcomes == [o == "x" for o in "".join(ticks)][-n:]


def test_the_tail_forgets():
    long = recent(*["." * 100] * 50)
    assert sum(len(o) for _, o in long.ticks) < RECENT_KEPT + 100
