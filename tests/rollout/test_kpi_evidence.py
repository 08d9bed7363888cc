"""What is kept of feedback: coins of customers that move, first units, and bounded memory."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise, product
from math import exp

import msgspec
import pytest

from crossfade.rollout import kpi_evidence
from crossfade.rollout.kpi_evidence import Fed, KpiEvidence, Number
from crossfade.rollout.kpis import kpi_increase
from crossfade.rollout.ripe import Ripe

from .counting import CONTEXT, check, evidence, ripened

EVENT = check("kpi", name="bought", kind="event", min_increase=0)
AMOUNT = check("kpi", name="bought", min_increase=0)


def of_customer(value: float, here: bool, share: float, key: int = 7) -> Fed:
    return Fed(Number(value, key), here, share)


def coins_of(*fed: Fed) -> list[tuple[float, list[int], list[int]]]:
    found = KpiEvidence()
    for each in fed:
        found.add(EVENT, [each])
    return [(coins.share, coins.here, coins.rest) for coins in found.coins]


def test_of_a_customer_that_stays_the_first_number_counts():
    assert coins_of(of_customer(1, True, 0.25), of_customer(0, True, 0.25)) == [(0.25, [0, 1], [0, 0])]


def test_a_customer_that_could_have_moved_counts_again_with_the_chance_of_that():
    fed = (of_customer(0, False, 0.25), of_customer(1, True, 0.5), of_customer(1, True, 1.0))
    assert coins_of(*fed) == [(0.25, [0, 0], [1, 0]), (pytest.approx(1 / 3), [0, 1], [0, 0])]


def test_a_customer_on_trial_stays_there_when_the_weight_rises():
    assert coins_of(of_customer(0, True, 0.25), of_customer(1, True, 0.5)) == [(0.25, [1, 0], [0, 0])]


@pytest.mark.parametrize("shares", [(0.05, 0.25, 0.5), (0.5, 0.25, 0.75)])
def test_the_evidence_of_customers_that_move_has_expectation_one(shares):
    """Exactly: two customers with an event at each share, over all positions between the shares."""
    edges = sorted({Fraction(0), Fraction(1), *(Fraction(str(share)) for share in shares)})
    places = list(pairwise(edges))
    mean = 0.0
    for at in product(places, repeat=2):
        made = evidence(checks=(EVENT,), share=0.5)
        found = made.kpis.setdefault(EVENT.title, KpiEvidence())
        for share, (key, (low, high)) in product(shares, enumerate(at)):
            found.add(EVENT, [of_customer(1, (low + high) / 2 < Fraction(str(share)), share, key)])
        log_e = kpi_increase(EVENT, made, CONTEXT).evidence
        assert log_e is not None
        mean += exp(log_e) * float((at[0][1] - at[0][0]) * (at[1][1] - at[1][0]))
    assert mean == pytest.approx(1)


def test_requests_without_a_key_count_each():
    fed = [Fed(Number(1, 7, keyed=False), True, 0.25)] * 3
    assert coins_of(*fed) == [(0.25, [0, 3], [0, 0])]


def test_too_many_customers_are_closed_and_their_sums_stay(monkeypatch):
    monkeypatch.setattr(kpi_evidence, "LIMIT", 300)
    rng, found = random.Random(5), KpiEvidence()
    for _ in range(40):
        keys = [rng.getrandbits(64) for _ in range(100)]
        found.add(AMOUNT, [of_customer(rng.random(), rng.random() < 0.5, 0.5, key) for key in keys])
    assert len(found.customers) < 300 and found.halvings > 2
    counted = found.here.units + found.rest.units
    assert counted > 600
    closed = next(key for key in iter(lambda: rng.getrandbits(64), None) if key >> (64 - found.halvings))
    before = found.sums()
    found.add(AMOUNT, [of_customer(1e6, True, 0.5, closed)])
    assert found.sums() == before


def test_a_tick_does_not_depend_on_the_order_of_the_predictions():
    """Feedback of requests of two weights comes at once; that of the earlier weight counts first."""
    rng = random.Random(3)
    kept = []
    for backwards in (False, True):
        made = evidence(checks=(EVENT,), share=0.25)
        made.open("r", 3, 1, 0.5)
        rng.seed(3)
        rows = []
        for version, backend in product((2, 3), ("v2", "v3")):
            below = 40 * (0.25, 0.5)[version - 2]
            keys = [key for key in range(40) if (key < below) == (backend == "v3")]
            rows.append(
                [
                    Ripe(0, version, backend, rng.choice(keys), True, {"bought": float(rng.random() < 0.3)})
                    for _ in range(50)
                ]
            )
        ripened(made, *(reversed(rows) if backwards else rows), checks=(EVENT,))
        found = made.kpis[EVENT.title]
        kept.append(sorted((c.share, c.here, c.rest) for c in found.coins))
    assert kept[0] and kept[0] == kept[1]


def test_a_customer_takes_little_room_in_the_state():
    """It is saved each second while a rollout is guarded, with those of coverage."""
    rng, found = random.Random(6), KpiEvidence()
    found.add(EVENT, [of_customer(1, False, 0.25, rng.getrandbits(64)) for _ in range(1000)])
    saved = msgspec.msgpack.encode(found)
    assert len(saved) < 1000 * 60
    assert msgspec.msgpack.decode(saved, type=KpiEvidence) == found
