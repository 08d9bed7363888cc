"""Simulated feedback for checks of KPIs: how often a rollout ever FAILs, or ever PASSes.

By hand, with more runs than the tests have time for: `python -m tests.statistics.kpi_worlds 400`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from crossfade.config.model import CheckConfig
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.kpi_evidence import Fed, KpiEvidence, Number
from crossfade.rollout.kpis import kpi_increase, kpi_limit
from crossfade.rollout.plan import Check
from crossfade.rollout.strategy import check_of
from crossfade.rollout.verdict import Verdict
from crossfade.rollout.verdict_rule import CheckContext

RAMP = (0.05, 0.25, 0.5)
LOOK = 250  # numbers between looks
Feedback = Iterator[list[Fed]]
World = Callable[[np.random.Generator, float], Feedback]
Values = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]


def independent(values: Values, units: int = 10_000) -> World:
    """One number for each request, `units` at each step; the challenger's are `gain` times as large."""

    def feedback(rng: np.random.Generator, gain: float) -> Feedback:
        for share in RAMP:
            here = rng.random(units) < share
            found = values(rng, here, np.where(here, gain, 1.0))
            keys = rng.integers(0, 2**63, units)
            for at in range(0, units, LOOK):
                part = slice(at, at + LOOK)
                rows = zip(found[part].tolist(), keys[part].tolist(), here[part].tolist(), strict=True)
                yield [Fed(Number(y, key, False), bool(a), share) for y, key, a in rows]

    return feedback


def customers(numbers: int = 5, n: int = 2000, kind: str = "amount") -> World:
    """The same customers at each step, `numbers` of each there; most of the variance is between customers."""

    def feedback(rng: np.random.Generator, gain: float) -> Feedback:
        position, usual = rng.random(n), rng.lognormal(0, 1, n)
        keys = rng.integers(0, 2**63, n) * 2 + 1
        for share in RAMP:
            order = rng.permutation(np.repeat(np.arange(n), numbers))
            for at in range(0, len(order), LOOK):
                who = order[at : at + LOOK]
                here = position[who] < share
                if kind == "event":
                    found = (
                        rng.random(len(who)) < np.clip(usual[who] / 10, 0, 1) * np.where(here, gain, 1.0)
                    ) * 1.0
                else:
                    found = usual[who] * rng.lognormal(0, 0.3, len(who)) * np.where(here, gain, 1.0)
                rows = zip(found.tolist(), keys[who].tolist(), here.tolist(), strict=True)
                yield [Fed(Number(y, key), bool(a), share) for y, key, a in rows]

    return feedback


def rare(rng: np.random.Generator, here: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """2 % of the requests have 50, the others nothing: the mean is 1."""
    return (rng.random(len(here)) < 0.02 * gain) * 50.0


def revenue(rng: np.random.Generator, here: np.ndarray, gain: np.ndarray) -> np.ndarray:
    found: np.ndarray = (
        (rng.random(len(here)) < 0.04) * np.exp(3 + 1.5 * rng.standard_normal(len(here))) * gain
    )
    return found


def unequal(rng: np.random.Generator, here: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The challenger's standard deviation is three times the champion's, the means are equal."""
    found: np.ndarray = gain + rng.standard_normal(len(here)) * np.where(here, 3.0, 1.0)
    return found


def conversion(rng: np.random.Generator, here: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return (rng.random(len(here)) < 0.05 * gain) * 1.0


class Ending(NamedTuple):
    """After how many numbers the check first FAILed and first PASSed; 0 if never."""

    fail: int
    passed: int


def run(world: World, check: Check, alpha: float, rng: np.random.Generator, gain: float = 1.0) -> Ending:
    kpi, seen, fail, passed = KpiEvidence(), 0, 0, 0
    evidence = Evidence("v2", "v3", kpis={check.title: kpi})
    evidence.open("r", 1, 0, 0.5)
    context = CheckContext(0, 100, alpha, alpha)
    judge = kpi_increase if check.bound.endswith("increase") else kpi_limit
    for fed in world(rng, gain):
        kpi.add(check, fed)
        seen += len(fed)
        verdict = judge(check, evidence, context).verdict
        fail = fail or seen * (verdict is Verdict.FAIL)
        passed = passed or seen * (verdict is Verdict.PASS)
    return Ending(fail, passed)


def check_on(**bounds: object) -> Check:
    return check_of(CheckConfig.model_validate({"metric": "kpi", "name": "k", **bounds}))


class Case(NamedTuple):
    name: str
    world: World
    check: Check
    gain: float = 1.0


CASES = (
    Case("5 numbers a customer and step, min_increase 0", customers(), check_on(min_increase=0)),
    Case("5 numbers a customer and step, max_increase 0", customers(), check_on(max_increase=0)),
    Case("200 customers, 25 numbers, min_increase 0", customers(25, 500), check_on(min_increase=0)),
    Case(
        "events of customers, min_increase 0", customers(kind="event"), check_on(min_increase=0, kind="event")
    ),
    Case("events, min_increase 0", independent(conversion), check_on(min_increase=0, kind="event")),
    Case("range, customers", customers(), check_on(min_increase=0, range=[0, 10])),
    Case("lognormal revenue, min_increase 0", independent(revenue), check_on(min_increase=0)),
    Case("lognormal revenue, max_increase 0", independent(revenue), check_on(max_increase=0)),
    Case("2 % x 50, min_increase 0", independent(rare), check_on(min_increase=0)),
    Case("2 % x 50, max_increase 0", independent(rare), check_on(max_increase=0)),
    Case("2 % x 50, min 1", independent(rare), check_on(min=1)),
    Case("2 % x 50, range, min_increase 0", independent(rare), check_on(min_increase=0, range=[0, 100])),
    Case("sd x 3, min_increase 0", independent(unequal), check_on(min_increase=0)),
    Case("sd x 3, max_increase 0", independent(unequal), check_on(max_increase=0)),
    Case("halved 2 % x 50, min_increase -0.1", independent(rare), check_on(min_increase=-0.1), 0.5),
    Case("halved 2 % x 50, min 1", independent(rare), check_on(min=1), 0.5),
    Case(
        "halved 2 % x 50, range, min_increase -0.1",
        independent(rare),
        check_on(min_increase=-0.1, range=[0, 100]),
        0.5,
    ),
    Case("2 % x 50 less a tenth, min_increase -0.1", independent(rare), check_on(min_increase=-0.1), 0.9),
    Case("halved revenue, min_increase -0.1", independent(revenue), check_on(min_increase=-0.1), 0.5),
    Case("customers x 0.7, min_increase 0", customers(), check_on(min_increase=0), 0.7),
    Case(
        "conversions x 0.7, min_increase 0",
        independent(conversion),
        check_on(min_increase=0, kind="event"),
        0.7,
    ),
    Case(
        "conversions x 1.3, min_increase 0",
        independent(conversion),
        check_on(min_increase=0, kind="event"),
        1.3,
    ),
    Case("conversions x 0.7 as amounts", independent(conversion), check_on(min_increase=0), 0.7),
    Case(
        "conversions x 0.7 with a range", independent(conversion), check_on(min_increase=0, range=[0, 1]), 0.7
    ),
)


def median(numbers: list[int]) -> str:
    found = [n for n in numbers if n]
    return f"{int(np.median(found)):>7}" if found else "      -"


def main(runs: int, alpha: float, first: int = 0, last: int = len(CASES)) -> None:
    for number, case in enumerate(CASES):
        if not first <= number < last:
            continue
        rng = np.random.default_rng([number, 11])
        ends = [run(case.world, case.check, alpha, rng, case.gain) for _ in range(runs)]
        fails, passes = [e.fail for e in ends], [e.passed for e in ends]
        print(
            f"{case.name:45} FAIL {sum(map(bool, fails)):4} of {runs} at {median(fails)}, "
            f"PASS {sum(map(bool, passes)):4} at {median(passes)}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:]))
