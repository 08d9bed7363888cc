"""Gates: a proven test is a FAIL only if it is proven by blocks of time, by keys and against the champion too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crossfade.rollout import evidence as rollout_evidence
from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence, fix_limits
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Verdict
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.stats.counts import ERROR, Cell, Events, Keys
from crossfade.stats.sequential import bound

from .counting import CONTEXT, cell, check, gather

MAX = check("error_rate", max="2%")
INCREASE = check("error_rate", max_increase="1%")
RATIO = check("latency", quantile="p90", max_ratio=1.2)


def at(made: Cell, second: int) -> Cell:
    made.second = second
    return made


def over_time(
    errors: Callable[[int], tuple[int, int]], seconds: int, question: Check, share: float = 0.1
) -> Evidence:
    """Ten requests of the challenger a second and 90 of the champion; `errors`: of both sides in a second."""
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, share)
    fix_limits(made, (question,))
    for second in range(1, seconds + 1):
        here, rest = errors(second)
        cells = [at(cell("v3", 10, here, times=()), second), at(cell("v2", 90, rest, times=()), second)]
        gather(made, cells, (question,))
    return made


@pytest.mark.parametrize("question", [MAX, INCREASE])
def test_a_burst_is_held_back_and_a_fault_that_stays_fails(question):
    burst = over_time(lambda second: (10 * (second in (21, 22)), 0), 23, question)
    found = evaluate_check(question, burst, CONTEXT)
    assert found.evidence is not None and found.evidence >= bound(CONTEXT.alpha)
    assert found.verdict is Verdict.UNDECIDED
    assert "but they came in bursts: with 5 seconds as one unit, no evidence" in found.reason
    assert "the same at more times would prove it" in found.reason
    stays = over_time(lambda second: (2, 1), 60, question)
    assert evaluate_check(question, stays, CONTEXT).verdict is Verdict.FAIL


def test_a_limit_that_the_champion_breaks_as_often_is_void():
    found = evaluate_check(MAX, over_time(lambda second: (second % 2, 4), 200, MAX), CONTEXT)
    assert found.verdict is Verdict.VOID
    assert (
        "800 of the champion's 18000 requests (4.44%) did too at the same time: a common cause"
        in found.reason
    )


def test_a_limit_that_the_champion_breaks_too_but_less_fails():
    found = evaluate_check(MAX, over_time(lambda second: (2, 4), 200, MAX), CONTEXT)
    assert found.verdict is Verdict.FAIL


def test_without_the_champion_a_burst_is_held_back_too():
    alone = over_time(lambda second: (10 * (second in (21, 22)), 0), 23, MAX, share=1.0)
    assert evaluate_check(MAX, alone, CONTEXT).verdict is Verdict.UNDECIDED
    stays = over_time(lambda second: (1, 0), 100, MAX, share=1.0)
    assert evaluate_check(MAX, stays, CONTEXT).verdict is Verdict.FAIL


def keyed(failing: int, question: Check, seconds: int = 120) -> Evidence:
    """Each of 100 customers has a request a second; the first 10 are on the challenger. Of these, `failing` always fail."""
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.1)
    fix_limits(made, (question,))
    keys = [(i + 1) << 40 for i in range(100)]
    for second in range(1, seconds + 1):
        bad = keys[:failing] if second % 2 else []
        here = at(Cell("r", "v3", "challenger", 2, requests=10, errors=len(bad)), second)
        here.events[ERROR] = Events(keyed=len(bad), keys=bad)
        here.keys = Keys(keys[:10])
        rest = at(Cell("r", "v2", "champion", 2, requests=90), second)
        rest.keys = Keys(keys[10:])
        rollout_evidence.gather(made, [here, rest], (question,))
    return made


def test_keys_that_always_fail_beside_none_of_the_champion_fail_however_few_they_are():
    no_more = check("error_rate", max_increase=0)
    found = evaluate_check(no_more, keyed(5, no_more), CheckContext(0, 100, 0.01, 0.01))
    assert found.verdict is Verdict.FAIL


def test_one_key_with_all_failures_is_no_fail():
    assert (
        evaluate_check(INCREASE, keyed(1, INCREASE), CheckContext(0, 100, 0.01, 0.01)).verdict
        is Verdict.UNDECIDED
    )


def test_keys_that_fail_more_often_fail_also_when_each_key_of_both_sides_has_failed_once():
    """The first events prove nothing any more then."""
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.3)
    keys = [(i + 1) << 40 for i in range(100)]
    for second in range(1, 301):
        cells = []
        for name, own, every in (("v3", keys[:30], 10), ("v2", keys[30:], 50)):
            bad = [key for i, key in enumerate(own) if (second + i) % every == 0]
            cells.append(at(Cell("r", name, "challenger", 2, requests=len(own), errors=len(bad)), second))
            cells[-1].events[ERROR] = Events(keyed=len(bad), keys=bad)
            cells[-1].keys = Keys(own)
        rollout_evidence.gather(made, cells, (INCREASE,))
    first = made.strata[0].events[ERROR]
    assert (first.challenger.first, first.champion.first) == (30, 70)
    assert evaluate_check(INCREASE, made, CheckContext(0, 100, 0.01, 0.01)).verdict is Verdict.FAIL


def test_on_a_sticky_route_only_keys_prove_that_a_limit_is_kept():
    context = CONTEXT._replace(prove=True)
    with_keys, without = keyed(0, INCREASE), over_time(lambda second: (0, 0), 120, INCREASE)
    by_keys, by_requests = (evaluate_check(INCREASE, made, context).proof for made in (with_keys, without))
    assert by_keys is not None and by_requests is not None
    assert by_keys < by_requests


def test_slow_answers_in_bursts_are_held_back():
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.5)
    for second in range(1, 200):
        slow = second in (150, 151)
        here = at(cell("v3", 100, times=[0.5 if slow else 0.1] * 100), second)
        gather(made, [here, at(cell("v2", 100, times=[0.1] * 100), second)], (RATIO,))
    found = evaluate_check(RATIO, made, CONTEXT)
    assert found.evidence is not None and found.evidence >= bound(CONTEXT.alpha)
    assert (found.verdict, "they came in bursts" in found.reason) == (Verdict.UNDECIDED, True)
