"""Orders to train a model again: one at a time, and not more often than the cooldown says unless an operator says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.retraining import (
    LONGEST_PAUSE,
    OPERATOR,
    SCHEDULE,
    Retraining,
    RetrainRule,
    cooldown_left,
    ended,
    ordered,
    pause_after,
    refusal,
    schedule_left,
)

RULE = RetrainRule(frozenset({"data_drift"}), schedule=700.0, cooldown=100.0, attempts=3)
AT = 1_700_000_000.0


def had(now: float) -> Retraining:
    """An order at this time, which has ended."""
    return ended(ordered(Retraining(0.0), "data_drift", {"p": 0.1}, now, AT), "succeeded", "done", AT + 5)


@pytest.mark.parametrize(
    ("reason", "now", "said"),
    [
        ("data_drift", 149.0, "the cooldown is not over"),
        ("data_drift", 150.0, ""),
        (SCHEDULE, 149.0, "the cooldown is not over"),
        (SCHEDULE, 150.0, ""),
        ("concept_drift", 150.0, "concept_drift is no occasion in the file"),
        (OPERATOR, 50.0, ""),
    ],
)
def test_what_gives_an_order_after_one_at_50(reason: str, now: float, said: str):
    assert refusal(had(50.0), RULE, reason, now) == said


def test_a_first_occasion_waits_for_nothing():
    assert refusal(Retraining(0.0), RULE, "data_drift", 0.0) == ""
    assert refusal(Retraining(0.0), RULE._replace(schedule=None), SCHEDULE, 0.0) == (
        "schedule is no occasion in the file"
    )


@pytest.mark.parametrize("reason", ["data_drift", SCHEDULE, OPERATOR])
def test_an_order_under_way_is_the_only_one(reason: str):
    held = ordered(Retraining(0.0), "data_drift", None, 0.0, AT)
    assert refusal(held, RULE, reason, 1e9) == "order 1700000000-1 is under way"


def test_the_schedule_counts_from_its_begin_and_then_from_the_last_order():
    assert schedule_left(Retraining(10.0), RULE, 30.0) == 680.0
    assert schedule_left(had(50.0), RULE, 60.0) == 690.0
    assert schedule_left(had(50.0), RULE, 10_000.0) == 0.0
    assert schedule_left(had(50.0), RULE._replace(schedule=None), 60.0) is None


def test_an_end_is_kept_with_its_order():
    held = ended(ordered(Retraining(0.0), "data_drift", {"p": 1}, 0.0, AT), "failed", "no", AT + 9, {"a": 1})
    assert held.order is None and held.last is not None
    assert (held.last.id, held.last.at, held.last.ended) == ("1700000000-1", AT, AT + 9)
    assert (held.last.outcome, held.last.detail, held.last.answer) == ("failed", "no", {"a": 1})


def test_pauses_double_up_to_the_longest():
    assert [pause_after(n) for n in (1, 2, 3, 10, 11, 10_000)] == [1, 2, 4, 512, LONGEST_PAUSE, LONGEST_PAUSE]


@given(
    st.lists(
        st.tuples(st.sampled_from(["data_drift", SCHEDULE, OPERATOR, "end"]), st.floats(0, 300)), max_size=60
    )
)
def test_law_ids_differ_and_orders_keep_their_distance(steps):
    held, now, given_at, ids = Retraining(0.0), 0.0, None, []
    for what, seconds in steps:
        now += seconds
        if what == "end":
            held = held if held.order is None else ended(held, "succeeded", "", now)
        elif not refusal(held, RULE, what, now):
            assert held.order is None
            assert what == OPERATOR or given_at is None or now - given_at >= RULE.cooldown - 1e-6
            held, given_at = ordered(held, what, None, now, AT), now
            assert held.order is not None
            ids.append(held.order.id)
            assert cooldown_left(held, RULE, now) == pytest.approx(RULE.cooldown)
    assert len(set(ids)) == len(ids) == held.orders
