from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from crossfade.routing.ledger import Ledger, new_ledger, reweigh, salt_of
from loadtests.laws import Finding, RouteState, Sightings, Split, judge, least_move
from tests.ledgers import backend_of, bucket_of

SALT = salt_of("churn")
CUSTOMERS = [f"c-{n}" for n in range(2000)]
V2, V3, V4 = "churn-v2", "churn-v3", "churn-v4"


def owner(ledger: Ledger, customer: str) -> str:
    return backend_of(ledger, bucket_of(customer.encode(), SALT))


def state(ledger: Ledger, fell_back: Mapping[str, int] | None = None) -> RouteState:
    split = {name: buckets / 10_000 for name, buckets in ledger.weights.items()}
    return RouteState(ledger.version, split, fallback=V2, fell_back=fell_back or {})


def seen_under(*ledgers: Ledger) -> Sightings:
    """Everyone twice under each ledger."""
    sightings = Sightings()
    for ledger in ledgers:
        for customer in CUSTOMERS * 2:
            sightings.see(customer, owner(ledger, customer))
    return sightings


def split_of(ledger: Ledger) -> Split:
    return state(ledger).split


def verdicts(findings: list[Finding]) -> dict[str, bool | None]:
    return {finding.law: finding.held for finding in findings}


LEDGER = new_ledger({V2: 9000, V3: 1000}, SALT)


@pytest.mark.parametrize("weight", [0, 1, 500, 5000, 9999])
def test_a_true_ledger_holds_both_laws(weight: int) -> None:
    ledger = new_ledger({V2: 10_000 - weight, V3: weight}, SALT)
    findings = judge(seen_under(ledger), state(ledger), state(ledger), {})
    assert verdicts(findings) == {"split": True, "stickiness": True}, [str(f) for f in findings]


def test_a_ledger_that_is_not_the_one_in_force_breaks_the_split() -> None:
    other = new_ledger({V2: 8500, V3: 1500}, SALT)
    findings = judge(seen_under(other), state(LEDGER), state(LEDGER), {})
    assert verdicts(findings) == {"split": False, "stickiness": True}
    assert "churn-v3" in findings[0].reason


def test_a_backend_with_no_weight_must_not_answer() -> None:
    sightings = seen_under(LEDGER)
    sightings.see("c-new", V4)
    assert verdicts(judge(sightings, state(LEDGER), state(LEDGER), {}))["split"] is False


def test_busy_customers_count_once() -> None:
    sightings = seen_under(LEDGER)
    for _ in range(100_000):
        sightings.see("c-1", owner(LEDGER, "c-1"))
    assert verdicts(judge(sightings, state(LEDGER), state(LEDGER), {}))["split"] is True


def test_random_assignment_breaks_stickiness() -> None:
    draw = random.Random(5)
    sightings = Sightings()
    for customer in CUSTOMERS * 2:
        sightings.see(customer, V3 if draw.random() < 0.1 else V2)
    findings = judge(sightings, state(LEDGER), state(LEDGER), {})
    assert verdicts(findings)["stickiness"] is False
    assert "saw churn-" in findings[1].reason


def test_one_move_is_enough_to_break_stickiness() -> None:
    sightings = seen_under(LEDGER)
    sightings.see("c-1", V3 if owner(LEDGER, "c-1") == V2 else V2)
    assert verdicts(judge(sightings, state(LEDGER), state(LEDGER), {}))["stickiness"] is False


def test_nobody_answered_is_a_failure() -> None:
    assert verdicts(judge(Sightings(), state(LEDGER), state(LEDGER), {})) == {
        "split": False,
        "stickiness": False,
    }


def test_growth_moves_no_more_than_it_must() -> None:
    grown = reweigh(LEDGER, {V2: 7500, V3: 2500}, SALT)
    splits = {LEDGER.version: split_of(LEDGER), grown.version: split_of(grown)}
    findings = judge(seen_under(LEDGER, grown), state(LEDGER), state(grown), splits)
    assert verdicts(findings) == {"split": None, "stickiness": True}
    assert "15.00%" in findings[1].reason


def test_a_reshuffle_breaks_stickiness() -> None:
    grown = reweigh(LEDGER, {V2: 7500, V3: 2500}, SALT)
    reshuffled = Ledger(grown.backends, bytes(reversed(grown.slots)), grown.version)
    splits = {LEDGER.version: split_of(LEDGER), grown.version: split_of(grown)}
    findings = judge(seen_under(LEDGER, reshuffled), state(LEDGER), state(grown), splits)
    assert verdicts(findings)["stickiness"] is False


def test_to_and_fro_is_allowed_once_for_each_version() -> None:
    away = reweigh(LEDGER, {V2: 5000, V3: 5000}, SALT)
    back = Ledger(LEDGER.backends, LEDGER.slots, away.version + 1)
    splits = {ledger.version: split_of(ledger) for ledger in (LEDGER, away, back)}
    seen = seen_under(LEDGER, away, back)
    assert verdicts(judge(seen, state(LEDGER), state(back), splits))["stickiness"] is True
    restless = seen_under(LEDGER, away, back, away)
    assert verdicts(judge(restless, state(LEDGER), state(back), splits))["stickiness"] is False


def test_a_version_that_is_not_on_record_cannot_be_judged() -> None:
    grown = reweigh(LEDGER, {V2: 7500, V3: 2500}, SALT)
    findings = judge(seen_under(LEDGER, grown), state(LEDGER), state(grown), {LEDGER.version: {}})
    assert verdicts(findings)["stickiness"] is None
    assert f"version {grown.version} is not on record" in findings[1].reason


def spill(sightings: Sightings, share: float, seed: int = 3) -> int:
    """The fallback answers some of the challenger's customers for once; how often it did."""
    draw = random.Random(seed)
    fell_back = 0
    for customer in CUSTOMERS:
        assigned = owner(LEDGER, customer)
        lost = assigned == V3 and draw.random() < share
        sightings.see(customer, V2 if lost else assigned)
        fell_back += lost
    return fell_back


def test_fallbacks_that_the_proxy_counted_are_no_moves() -> None:
    sightings = Sightings()
    fell_back = sum(spill(sightings, 0.3, seed) for seed in range(3))
    assert fell_back > 50
    before, after = state(LEDGER, {V3: 7}), state(LEDGER, {V3: 7 + fell_back})
    assert verdicts(judge(sightings, before, after, {})) == {"split": True, "stickiness": True}


def test_fallbacks_that_the_proxy_did_not_count_are_moves() -> None:
    sightings = Sightings()
    fell_back = sum(spill(sightings, 0.3, seed) for seed in range(3))
    after = state(LEDGER, {V3: fell_back // 2})
    assert verdicts(judge(sightings, state(LEDGER), after, {}))["stickiness"] is False


def test_spills_explain_the_fallback_only() -> None:
    ledger = new_ledger({V2: 8000, V3: 1000, V4: 1000}, SALT)
    sightings = seen_under(ledger)
    moved = next(c for c in CUSTOMERS if owner(ledger, c) == V3)
    sightings.see(moved, V4)
    after = state(ledger, {V3: 50, V4: 50})
    assert verdicts(judge(sightings, state(ledger), after, {}))["stickiness"] is False


def test_a_dead_challenger_whose_customers_were_all_answered_by_the_fallback() -> None:
    sightings = Sightings()
    fell_back = sum(spill(sightings, 1.0, seed) for seed in range(2))
    after = state(LEDGER, {V3: fell_back})
    assert verdicts(judge(sightings, state(LEDGER), after, {})) == {"split": True, "stickiness": True}


def test_spills_while_the_ledger_changes() -> None:
    sightings = seen_under(LEDGER)
    fell_back = spill(sightings, 0.5)
    grown = reweigh(LEDGER, {V2: 8900, V3: 1100}, SALT)
    for customer in CUSTOMERS:
        sightings.see(customer, owner(grown, customer))
    splits = {LEDGER.version: split_of(LEDGER), grown.version: split_of(grown)}
    held = judge(sightings, state(LEDGER), state(grown, {V3: fell_back}), splits)
    assert verdicts(held)["stickiness"] is True
    broken = judge(sightings, state(LEDGER), state(grown), splits)
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
def test_least_move(before: Split, after: Split, share: float) -> None:
    assert least_move(before, after) == pytest.approx(share)


def test_findings_read_as_one_line() -> None:
    assert str(Finding("split", None, "why")) == "split: not judged (why)"
    assert str(Finding("split", False, "why")) == "split: BROKEN (why)"
