from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from crossfade.routing.ledger import Ledger, new_ledger, reweigh, salt_of
from loadtests.laws import AnswerLog, Finding, RouteState, Split, judge, least_share_moved
from tests.ledgers import backend_of, bucket_of

SALT = salt_of("churn")
CUSTOMERS = [f"c-{n}" for n in range(2000)]
V2, V3, V4 = "churn-v2", "churn-v3", "churn-v4"


def owner(ledger: Ledger, customer: str) -> str:
    return backend_of(ledger, bucket_of(customer.encode(), SALT))


def state(ledger: Ledger, fell_back: Mapping[str, int] | None = None) -> RouteState:
    split = {name: buckets / 10_000 for name, buckets in ledger.weights.items()}
    return RouteState(ledger.version, split, fallback=V2, fell_back=fell_back or {})


def answers_under(*ledgers: Ledger) -> AnswerLog:
    """Two answers for every customer under each ledger."""
    log = AnswerLog()
    for ledger in ledgers:
        for customer in CUSTOMERS * 2:
            log.record(customer, owner(ledger, customer))
    return log


def split_of(ledger: Ledger) -> Split:
    return state(ledger).split


def verdicts(findings: list[Finding]) -> dict[str, bool | None]:
    return {finding.law: finding.held for finding in findings}


LEDGER = new_ledger({V2: 9000, V3: 1000}, SALT)


@pytest.mark.parametrize("weight", [0, 1, 500, 5000, 9999])
def test_both_laws_hold_if_answers_follow_the_ledger(weight: int) -> None:
    ledger = new_ledger({V2: 10_000 - weight, V3: weight}, SALT)
    findings = judge(answers_under(ledger), state(ledger), state(ledger), {})
    assert verdicts(findings) == {"split": True, "stickiness": True}, [str(f) for f in findings]


def test_answers_of_another_ledger_break_the_split() -> None:
    other = new_ledger({V2: 8500, V3: 1500}, SALT)
    findings = judge(answers_under(other), state(LEDGER), state(LEDGER), {})
    assert verdicts(findings) == {"split": False, "stickiness": True}
    assert "churn-v3" in findings[0].reason


def test_an_answer_from_a_backend_without_weight_breaks_the_split() -> None:
    log = answers_under(LEDGER)
    log.record("c-new", V4)
    assert verdicts(judge(log, state(LEDGER), state(LEDGER), {}))["split"] is False


def test_a_customer_with_many_requests_counts_once() -> None:
    log = answers_under(LEDGER)
    for _ in range(100_000):
        log.record("c-1", owner(LEDGER, "c-1"))
    assert verdicts(judge(log, state(LEDGER), state(LEDGER), {}))["split"] is True


def test_random_assignment_breaks_stickiness() -> None:
    generator = random.Random(5)
    log = AnswerLog()
    for customer in CUSTOMERS * 2:
        log.record(customer, V3 if generator.random() < 0.1 else V2)
    findings = judge(log, state(LEDGER), state(LEDGER), {})
    assert verdicts(findings)["stickiness"] is False
    assert "saw churn-" in findings[1].reason


def test_one_customer_that_moves_breaks_stickiness() -> None:
    log = answers_under(LEDGER)
    log.record("c-1", V3 if owner(LEDGER, "c-1") == V2 else V2)
    assert verdicts(judge(log, state(LEDGER), state(LEDGER), {}))["stickiness"] is False


def test_a_run_without_answers_breaks_both_laws() -> None:
    assert verdicts(judge(AnswerLog(), state(LEDGER), state(LEDGER), {})) == {
        "split": False,
        "stickiness": False,
    }


def test_a_changed_ledger_may_move_the_share_that_the_weights_require() -> None:
    grown = reweigh(LEDGER, {V2: 7500, V3: 2500}, SALT)
    splits = {LEDGER.version: split_of(LEDGER), grown.version: split_of(grown)}
    findings = judge(answers_under(LEDGER, grown), state(LEDGER), state(grown), splits)
    assert verdicts(findings) == {"split": None, "stickiness": True}
    assert "15.00%" in findings[1].reason


def test_a_ledger_that_moves_other_customers_breaks_stickiness() -> None:
    grown = reweigh(LEDGER, {V2: 7500, V3: 2500}, SALT)
    reshuffled = Ledger(grown.backends, bytes(reversed(grown.slots)), grown.version)
    splits = {LEDGER.version: split_of(LEDGER), grown.version: split_of(grown)}
    findings = judge(answers_under(LEDGER, reshuffled), state(LEDGER), state(grown), splits)
    assert verdicts(findings)["stickiness"] is False


def test_a_customer_may_move_once_for_each_version() -> None:
    away = reweigh(LEDGER, {V2: 5000, V3: 5000}, SALT)
    back = Ledger(LEDGER.backends, LEDGER.slots, away.version + 1)
    splits = {ledger.version: split_of(ledger) for ledger in (LEDGER, away, back)}
    allowed = answers_under(LEDGER, away, back)
    assert verdicts(judge(allowed, state(LEDGER), state(back), splits))["stickiness"] is True
    too_often = answers_under(LEDGER, away, back, away)
    assert verdicts(judge(too_often, state(LEDGER), state(back), splits))["stickiness"] is False


def test_stickiness_is_not_judged_if_a_version_is_not_recorded() -> None:
    grown = reweigh(LEDGER, {V2: 7500, V3: 2500}, SALT)
    findings = judge(answers_under(LEDGER, grown), state(LEDGER), state(grown), {LEDGER.version: {}})
    assert verdicts(findings)["stickiness"] is None
    assert f"version {grown.version} is not recorded" in findings[1].reason


def fall_back(log: AnswerLog, share: float, seed: int = 3) -> int:
    """Records one answer for each customer, some by the fallback; returns how many by the fallback."""
    generator = random.Random(seed)
    fell_back = 0
    for customer in CUSTOMERS:
        assigned = owner(LEDGER, customer)
        failed = assigned == V3 and generator.random() < share
        log.record(customer, V2 if failed else assigned)
        fell_back += failed
    return fell_back


def test_fallback_answers_that_the_proxy_counted_are_no_moves() -> None:
    log = AnswerLog()
    fell_back = sum(fall_back(log, 0.3, seed) for seed in range(3))
    assert fell_back > 50
    before, after = state(LEDGER, {V3: 7}), state(LEDGER, {V3: 7 + fell_back})
    assert verdicts(judge(log, before, after, {})) == {"split": True, "stickiness": True}


def test_fallback_answers_that_the_proxy_did_not_count_are_moves() -> None:
    log = AnswerLog()
    fell_back = sum(fall_back(log, 0.3, seed) for seed in range(3))
    after = state(LEDGER, {V3: fell_back // 2})
    assert verdicts(judge(log, state(LEDGER), after, {}))["stickiness"] is False


def test_fallback_counts_explain_only_answers_of_the_fallback() -> None:
    ledger = new_ledger({V2: 8000, V3: 1000, V4: 1000}, SALT)
    log = answers_under(ledger)
    moved = next(c for c in CUSTOMERS if owner(ledger, c) == V3)
    log.record(moved, V4)
    after = state(ledger, {V3: 50, V4: 50})
    assert verdicts(judge(log, state(ledger), after, {}))["stickiness"] is False


def test_the_laws_hold_if_the_fallback_answers_all_customers_of_a_challenger() -> None:
    log = AnswerLog()
    fell_back = sum(fall_back(log, 1.0, seed) for seed in range(2))
    after = state(LEDGER, {V3: fell_back})
    assert verdicts(judge(log, state(LEDGER), after, {})) == {"split": True, "stickiness": True}


def test_fallback_answers_are_explained_also_if_the_ledger_changes() -> None:
    log = answers_under(LEDGER)
    fell_back = fall_back(log, 0.5)
    grown = reweigh(LEDGER, {V2: 8900, V3: 1100}, SALT)
    for customer in CUSTOMERS:
        log.record(customer, owner(grown, customer))
    splits = {LEDGER.version: split_of(LEDGER), grown.version: split_of(grown)}
    held = judge(log, state(LEDGER), state(grown, {V3: fell_back}), splits)
    assert verdicts(held)["stickiness"] is True
    broken = judge(log, state(LEDGER), state(grown), splits)
    assert verdicts(broken)["stickiness"] is False


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ({V2: 1.0}, {V2: 0.9, V3: 0.1}, 0.1),
        ({V2: 0.9, V3: 0.1}, {V3: 1.0}, 0.9),
        ({V2: 0.5, V3: 0.5}, {V2: 0.4, V3: 0.3, V4: 0.3}, 0.3),
        ({V2: 1.0}, {V2: 1.0}, 0.0),
    ],
)
def test_least_share_moved(before: Split, after: Split, share: float) -> None:
    assert least_share_moved(before, after) == pytest.approx(share)


def test_a_finding_is_one_line_of_text() -> None:
    assert str(Finding("split", None, "why")) == "split: not judged (why)"
    assert str(Finding("split", False, "why")) == "split: BROKEN (why)"
