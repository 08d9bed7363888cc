"""Simulated feedback for recommendations: how often PROMOTE and KEEP come, and whether they are right, at a look after each portion.

By hand, with more runs than the tests have time for: `python -m tests.statistics.recommended 200 0.05`.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import NamedTuple

import numpy as np

from crossfade.rollout.kpi_evidence import Fed, KpiEvidence, Number
from crossfade.rollout.plan import Check, Goal
from crossfade.rollout.recommendation import Advice, interval_alpha, lift_of, recommend

from .kpi_worlds import (
    LOOK,
    RAMP,
    Feedback,
    World,
    check_on,
    conversion,
    customers,
    independent,
    rare,
    revenue,
    unequal,
)

EVENT, RANGE, AMOUNT = (
    check_on(min_increase=0, **more) for more in ({"kind": "event"}, {"range": [0, 10]}, {})
)


class Said(NamedTuple):
    """The first recommendation, and after how many numbers; the least p-value of all looks."""

    advice: Advice
    at: int
    p_value: float


def rising(units: int = 10_000) -> World:
    """Amounts whose mean rises to four times while the weight rises: pooled means would give that to the challenger."""

    def feedback(rng: np.random.Generator, gain: float) -> Feedback:
        for step, share in enumerate(RAMP):
            here = rng.random(units) < share
            means = np.linspace(1 + step, 2 + step, units) * np.where(here, gain, 1.0)
            found, keys = means * rng.lognormal(-0.125, 0.5, units), rng.integers(0, 2**63, units)
            for at in range(0, units, LOOK):
                part = slice(at, at + LOOK)
                rows = zip(found[part].tolist(), keys[part].tolist(), here[part].tolist(), strict=True)
                yield [Fed(Number(y, key, False), bool(a), share) for y, key, a in rows]

    return feedback


def common(rng: np.random.Generator, here: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Right answers: 80 % of them."""
    return (rng.random(len(here)) < 0.8 * gain) * 1.0


def run(world: World, check: Check, goal: Goal, alpha: float, rng: np.random.Generator, gain: float) -> Said:
    found, seen, advice, at, p_value = KpiEvidence(), 0, Advice.UNDECIDED, 0, 1.0
    for fed in world(rng, gain):
        found.add(check, fed)
        seen += len(fed)
        lift = lift_of(check, goal, found, alpha, shown=False)
        if lift is None:
            continue
        p_value = min(p_value, lift.p_value)
        said = recommend(goal, alpha, "v3", {"v3": lift}).advice
        if advice is Advice.UNDECIDED and said is not advice:
            advice, at = said, seen
    return Said(advice, at, p_value)


def run_several(
    gains: dict[str, float], goal: Goal, alpha: float, rng: np.random.Generator, n: int
) -> dict[str, Advice]:
    """The first recommendation for each challenger of one champion, by events of 30 % there; UNDECIDED after n requests in all."""
    found = {name: KpiEvidence() for name in gains}
    side = rng.integers(0, len(gains) + 1, n)
    bought = (rng.random(n) < 0.3 * np.array([1.0, *gains.values()])[side]) * 1.0
    out = dict.fromkeys(gains, Advice.UNDECIDED)
    for at in range(0, n, 2 * LOOK):
        part = range(at, min(at + 2 * LOOK, n))
        for number, name in enumerate(gains, 1):
            rows = [i for i in part if side[i] in (0, number)]
            found[name].add(EVENT, [Fed(Number(bought[i], i, False), bool(side[i]), 0.5) for i in rows])
        lifts = {
            name: lift_of(EVENT, goal, each, interval_alpha(alpha, len(gains)))
            for name, each in found.items()
        }
        for name in gains:
            if out[name] is Advice.UNDECIDED:
                out[name] = recommend(goal, alpha, name, lifts).advice
        if Advice.UNDECIDED not in out.values():
            break
    return out


class Case(NamedTuple):
    name: str
    world: World
    check: Check
    min_lift: float
    gain: float


CASES = (
    Case("A/A, conversions of 5 %", independent(conversion), EVENT, 0.05, 1.0),
    Case("A/A, right answers of 80 %", independent(common), EVENT, 0.05, 1.0),
    Case("A/A, lognormal revenue", independent(revenue), AMOUNT, 0.05, 1.0),
    Case("A/A, 2 % x 50", independent(rare), AMOUNT, 0.05, 1.0),
    Case("A/A, sd x 3", independent(unequal), AMOUNT, 0.05, 1.0),
    Case("A/A, 5 numbers a customer and step", customers(), AMOUNT, 0.05, 1.0),
    Case("A/A, customers, range", customers(), RANGE, 0.05, 1.0),
    Case("A/A, customers, events", customers(kind="event"), EVENT, 0.05, 1.0),
    Case("A/A, a mean that rises", rising(), AMOUNT, 0.05, 1.0),
    Case("at min_lift, conversions", independent(conversion), EVENT, 0.10, 1.10),
    Case("at min_lift, right answers", independent(common), EVENT, 0.10, 1.10),
    Case("at min_lift, revenue", independent(revenue), AMOUNT, 0.10, 1.10),
    Case("at min_lift, a mean that rises", rising(), AMOUNT, 0.10, 1.10),
    Case("at min_lift of 50 %, a mean that rises", rising(), AMOUNT, 0.50, 1.50),
    Case("at min_lift, customers", customers(), AMOUNT, 0.10, 1.10),
    Case("x 1.3, conversions", independent(conversion), EVENT, 0.05, 1.3),
    Case("x 1.15, right answers", independent(common), EVENT, 0.05, 1.15),
    Case("x 1.2, a mean that rises", rising(), AMOUNT, 0.05, 1.2),
)


SEVERAL = ({"a": 1.2, "b": 1.2}, {"a": 1.0, "b": 1.0}, {"a": 1.8, "b": 1.3}, {"a": 1.6, "b": 1.0})


def main(runs: int, alpha: float) -> None:
    for number, case in enumerate(CASES):
        rng, goal = np.random.default_rng([number, 13]), Goal(case.check.title, case.min_lift)
        said = [run(case.world, case.check, goal, alpha, rng, case.gain) for _ in range(runs)]
        counts = {advice: sum(one.advice is advice for one in said) for advice in Advice}
        after = [one.at for one in said if one.at]
        print(
            f"{case.name:42} PROMOTE {counts[Advice.PROMOTE]:4} KEEP {counts[Advice.KEEP]:4} of {runs}, "
            f"at {int(np.median(after)) if after else 0:6}; p below alpha: {sum(one.p_value <= alpha for one in said)}",
            flush=True,
        )
    for gains in SEVERAL:
        rng = np.random.default_rng(len(CASES))
        ends = [run_several(gains, Goal(EVENT.title, 0.2), alpha, rng, 30_000) for _ in range(runs)]
        counts_of = {name: dict(Counter(str(end[name]) for end in ends)) for name in gains}
        print(f"{gains}: {counts_of}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.01)
