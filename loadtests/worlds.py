"""Simulated traffic: what a champion and a challenger would count, look by look, when the truth is known.

Rule: all randomness comes from the generator given, so a seed is a run. Each request is the toss of a
coin with the challenger's share, and its outcome depends on the world and on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossfade.stats.histogram import LOG_UNIT, PER_LOG

LOOK = 100  # requests, of both sides together, between two looks
WINDOW = 1000  # requests of one interval, for the rivals that judge by intervals
MEDIAN, SPREAD = 0.05, 0.5  # of the lognormal answer times, seconds
P90, P99 = (MEDIAN * float(np.exp(SPREAD * z)) for z in (1.281552, 2.326348))
SCORED = (2.0, 5.0)  # the champion's scores are Beta(2, 5)
HIGH = 0.510316  # their 90th percentile

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class World(NamedTuple):
    """`base` and `shares`: error rate and challenger's share in equal parts of the run, one step each.

    `worse`: how many times the champion's the challenger's error rate (or, of a `timed` world, its tail
    above p90) is, from request `onset` on. `outages`: bursts in which half of all requests fail. `room`:
    how many times the healthy value the absolute limit of the world's check is. `customers`: so many, each
    of whom keeps a side, and of whom a few cause all the errors; 0 where requests are independent. `scored`:
    the challenger's scores are Beta(2, scored); 0 where there are none.
    """

    name: str
    base: tuple[float, ...] = (0.01,)
    shares: tuple[float, ...] = (0.05,)
    worse: float = 1.0
    onset: int = 0
    outages: int = 0
    timed: bool = False
    room: float = 1.0
    customers: int = 0
    scored: float = 0.0


NULLS = (
    World("errors 1 %"),
    World("errors 0.1 %", base=(0.001,)),
    World("shared outages", outages=5),
    World("drift on a ramp", base=(0.005, 0.01, 0.02, 0.03), shares=(0.01, 0.05, 0.25, 0.5)),
    World("few customers, all errors", customers=5000),
    World("latency", timed=True),
    World("scores", scored=5.0),
)
ALTERNATIVES = (
    World("1→2 %", worse=2.0, room=1.5),
    World("1→5 %", worse=5.0, room=1.5),
    World("late 1→5 %", worse=5.0, onset=50_000, room=1.5),
    World("p99 ×1.5", worse=1.5, timed=True, room=1.1),
    World("scores 0.17 apart", scored=3.5),
)


class Traffic(NamedTuple):
    """One row for each look: sizes and errors of challenger and champion; `slow` counts answers above the true p99.

    `times`: of a timed world, buckets of the histogram for each request of a look. `failed`: of a world of
    customers, whose requests failed. `scores`: of a scored world, of each request; `x` counts the high ones.
    """

    step: Ints
    n: Ints
    x: Ints
    rest_n: Ints
    rest_x: Ints
    times: list[tuple[Ints, Ints]]
    quantiles: tuple[Floats, Floats]  # of each window: p99 in seconds, or p90 of the scores
    failed: Sequence[tuple[Ints, Ints]] = ()
    scores: Sequence[tuple[Floats, Floats]] = ()


def traffic(world: World, looks: int, rng: np.random.Generator) -> Traffic:
    step = np.arange(looks) * len(world.shares) // looks
    share = np.array(world.shares)[step]
    base = np.array(world.base)[step]
    sick = np.arange(looks) * LOOK >= world.onset
    n = rng.binomial(LOOK, share)
    rest_n = LOOK - n
    if world.timed:
        return timed(world, step, (n, rest_n), sick, rng)
    if world.customers:
        return held(world, looks, rng)
    if world.scored:
        return scored(world, step, (n, rest_n), rng)
    for at in rng.integers(0, max(looks - 10, 1), world.outages):
        base[at : at + 10] = 0.5
    x = rng.binomial(n, np.minimum(np.where(sick, base * world.worse, base), 1))
    nothing = np.zeros(0)
    return Traffic(step, n, x, rest_n, rng.binomial(rest_n, base), [], (nothing, nothing))


def held(world: World, looks: int, rng: np.random.Generator) -> Traffic:
    """Customers drawn anew for each request; every fiftieth one fails so often that the rate is the base rate."""
    on_trial = rng.random(world.customers) < world.shares[0]
    fails = np.where(np.arange(world.customers) % 50 == 0, 50 * world.base[0], 0.0)
    who = rng.integers(0, world.customers, (looks, LOOK))
    bad = rng.random((looks, LOOK)) < fails[who]
    ours = on_trial[who]
    n, x, y = (np.asarray(a.sum(axis=1), dtype=np.int64) for a in (ours, bad & ours, bad & ~ours))
    failed = [(w[b & o], w[b & ~o]) for w, b, o in zip(who, bad, ours, strict=True)]
    nothing = np.zeros(0)
    return Traffic(np.zeros(looks, dtype=np.int64), n, x, LOOK - n, y, [], (nothing, nothing), failed)


def scored(world: World, step: Ints, sizes: tuple[Ints, Ints], rng: np.random.Generator) -> Traffic:
    drawn, high, quantiles = [], [], []
    for size, shape in zip(sizes, (world.scored, SCORED[1]), strict=True):
        scores = rng.beta(SCORED[0], shape, int(size.sum()))
        ends = np.cumsum(size)[:-1]
        look = np.repeat(np.arange(len(size)), size)
        drawn.append(np.split(scores, ends))
        high.append(np.bincount(look, weights=scores > HIGH, minlength=len(size)).astype(np.int64))
        quantiles.append(by_window(scores, ends, 0.9))
    pairs = list(zip(drawn[0], drawn[1], strict=True))
    return Traffic(step, sizes[0], high[0], sizes[1], high[1], [], (quantiles[0], quantiles[1]), (), pairs)


def by_window(values: Floats, ends: Ints, q: float) -> Floats:
    parts = np.split(values, ends[WINDOW // LOOK - 1 :: WINDOW // LOOK])
    return np.array([np.quantile(part, q) if len(part) else 0.0 for part in parts])


def timed(
    world: World, step: Ints, sizes: tuple[Ints, Ints], sick: NDArray[np.bool_], rng: np.random.Generator
) -> Traffic:
    seconds, buckets, slow, quantiles = [], [], [], []
    for size, worse in zip(sizes, (world.worse, 1.0), strict=True):
        drawn = MEDIAN * np.exp(SPREAD * rng.standard_normal(int(size.sum())))
        look = np.repeat(np.arange(len(size)), size)
        seconds.append(np.where((drawn > P90) & sick[look], drawn * worse, drawn))
        ends = np.cumsum(size)[:-1]
        indices = ((np.log(seconds[-1]) - LOG_UNIT) * PER_LOG).astype(np.int64)
        buckets.append(np.split(indices, ends))
        slow.append(np.bincount(look, weights=seconds[-1] > P99, minlength=len(size)).astype(np.int64))
        quantiles.append(by_window(seconds[-1], ends, 0.99))
    n, rest_n = sizes
    pairs = list(zip(buckets[0], buckets[1], strict=True))
    return Traffic(step, n, slow[0], rest_n, slow[1], pairs, (quantiles[0], quantiles[1]))
