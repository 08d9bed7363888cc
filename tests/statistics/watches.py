"""How fast a watch finds a fault, and how often it rolls a healthy challenger back: `python -m tests.statistics.watches`.

Whole watches in simulated time through the evidence and the check, with fixed seeds. Each tick is a block of time. The
champion's error rate is 1 % before the promote; `MARGIN` is the limit of `max_increase`, and the bound is that of alpha 0.2 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import pi, sin
from typing import NamedTuple

import numpy as np

from crossfade.config.model import CheckConfig
from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence, gather
from crossfade.rollout.strategy import check_of
from crossfade.rollout.verdict import Verdict
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.stats.counts import Cell

ALPHA = 0.002
TICK = 5  # seconds
DAY = 86_400
USUAL = 0.01  # the champion's error rate
MARGIN = 0.005

Rate = Callable[[int], float]  # of errors, at a second of the watch


class Watch(NamedTuple):
    """`holdback`: the champion's share; `ours` and `theirs`: error rates. `past`: requests of the champion before."""

    name: str
    ours: Rate
    theirs: Rate
    holdback: float
    per_second: float = 50.0
    seconds: int = DAY
    past: int = 200_000


def steady(rate: float) -> Rate:
    return lambda second: rate


def drifting(rate: float, part: float) -> Rate:
    """Up and down by this part within a day; the watch begins where it rises."""
    return lambda second: rate * (1 + part * sin(2 * pi * second / DAY))


def with_bursts(rate: float, burst: float, seconds: int, each: int) -> Rate:
    return lambda second: burst if second % each < seconds else rate


def requests_until_fail(watch: Watch, seed: int) -> int | None:
    """Requests of both sides until the FAIL; None if the watch ends without one."""
    random = np.random.default_rng(seed)
    check = check_of(CheckConfig(metric="error_rate", max_increase=MARGIN))
    before = _cell("v2", watch.past, int(random.binomial(watch.past, USUAL)), 1, 0)
    evidence = Evidence.begin("v2", "v3", before)
    evidence.open("r", 2, 1, 1 - watch.holdback)
    context = CheckContext(1, 100, ALPHA, ALPHA, steps=1)
    served = 0
    for tick, cells in enumerate(_ticks(watch, random)):
        gather(evidence, cells, (check,))
        served += sum(cell.requests for cell in cells)
        if evaluate_check(check, evidence, context).verdict is Verdict.FAIL:
            return served
        assert tick < watch.seconds
    return None


def _ticks(watch: Watch, random: np.random.Generator) -> Iterator[list[Cell]]:
    ticks = watch.seconds // TICK
    seconds = range(0, ticks * TICK, TICK)
    total = random.poisson(watch.per_second * TICK, ticks)
    rest = random.binomial(total, watch.holdback)
    bad_rest = random.binomial(rest, [watch.theirs(second) for second in seconds])
    bad = random.binomial(total - rest, [watch.ours(second) for second in seconds])
    for i, second in enumerate(seconds):
        here, n = int(total[i] - rest[i]), int(rest[i])
        cells = [_cell("v3", here, int(bad[i]), 2, second + 1)] if here else []
        yield [*cells, _cell("v2", n, int(bad_rest[i]), 2, second + 1)] if n else cells


def _cell(backend: str, n: int, errors: int, version: int, second: int) -> Cell:
    cell = Cell("r", backend, "champion", version, requests=n, errors=errors)
    cell.second = second
    cell.unkeyed = n
    return cell


def _held(rate: float, holdback: float = 0.02) -> Watch:
    name = f"holdback {holdback:.0%}: 1 → {rate:.0%}"
    return Watch(name, steady(rate), steady(USUAL), holdback, seconds=2 * 3600)


BURST = with_bursts(USUAL, 0.2, 20, 7200)
FAULTS = [
    _held(0.03),
    _held(0.05),
    _held(0.10),
    *[Watch(f"no holdback: 1 → {rate:.0%}", steady(rate), steady(USUAL), 0.0) for rate in (0.03, 0.05, 0.1)],
]
HEALTHY = [
    Watch("holdback 2%: equal, 24 h", steady(USUAL), steady(USUAL), 0.02),
    Watch("holdback 2%: ±20% in a day", drifting(USUAL, 0.2), drifting(USUAL, 0.2), 0.02),
    Watch("holdback 2%: 20 s at 20% on both, each 2 h", BURST, BURST, 0.02),
    Watch("no holdback: equal, 24 h", steady(USUAL), steady(USUAL), 0.0),
    Watch("no holdback: ±20% in a day", drifting(USUAL, 0.2), steady(USUAL), 0.0),
    Watch("no holdback: 20 s at 20%, each 2 h", BURST, steady(USUAL), 0.0),
    Watch("no holdback: one hour at 5% (cannot be told)", with_bursts(USUAL, 0.05, 3600, DAY), steady(USUAL), 0.0),
]  # fmt: skip


def main(runs: int = 40, healthy_runs: int = 20) -> None:
    for watch in FAULTS:
        found = [requests_until_fail(watch, seed) for seed in range(runs)]
        seen = sorted(n for n in found if n is not None)
        half, most = (seen[len(seen) // 2], seen[len(seen) * 9 // 10]) if seen else (0, 0)
        print(f"{watch.name}: found {len(seen)} of {runs}, requests: median {half}, 90% {most}", flush=True)
    for watch in HEALTHY:
        found = [requests_until_fail(watch, seed) for seed in range(healthy_runs)]
        wrong = sum(n is not None for n in found)
        print(f"{watch.name}: rolled back {wrong} of {healthy_runs}", flush=True)


if __name__ == "__main__":
    main()
