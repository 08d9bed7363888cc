"""Simulated traffic: counts of a champion and a challenger for each look, with known true values.

Rule: all randomness comes from the given generator, so one seed gives one run. Each request goes to the challenger
with the probability of its share, and its outcome depends only on the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossfade.stats.histogram import LOG_UNIT, PER_LOG

LOOK = 100  # requests, of both sides together, between two looks
WINDOW = 1000  # requests of one interval, for rivals that decide by intervals
MEDIAN, SPREAD = 0.05, 0.5  # of the lognormal answer times, seconds
P90, P99 = (MEDIAN * float(np.exp(SPREAD * z)) for z in (1.281552, 2.326348))
CHAMPION_BETA = (2.0, 5.0)  # the champion's scores are Beta(2, 5)
HIGH = 0.510316  # the 90th percentile of the champion's scores

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class World(NamedTuple):
    """`base` and `shares`: error rate and challenger's share in equal parts of the run, one step each.

    `worse`: from request `onset` on, the factor on the challenger's error rate, or on its durations above p90 in
    a `timed` world. `outages`: number of bursts in which half of all requests fail. `room`: the absolute limit of the
    check divided by the healthy value. `customers`: number of sticky keys, of which a few cause all errors; 0 if
    requests are independent. `scored`: the challenger's scores are Beta(2, scored); 0 without scores.
    The name seeds the random generator, so another name gives other runs.
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
    """One row for each look: requests (`n`, `rest_n`) and events (`x`, `rest_x`) of challenger and champion.

    Events are errors, answers above the true p99 (timed world) or high scores (scored world). `times`: histogram
    bucket of each request (timed). `failed`: customers whose requests failed. `scores`: of each request (scored).
    """

    step: Ints
    n: Ints
    x: Ints
    rest_n: Ints
    rest_x: Ints
    times: list[tuple[Ints, Ints]]
    quantiles: tuple[Floats, Floats]  # of each window: p99 in seconds, or p90 of scores
    failed: Sequence[tuple[Ints, Ints]] = ()
    scores: Sequence[tuple[Floats, Floats]] = ()


def traffic(world: World, looks: int, rng: np.random.Generator) -> Traffic:
    step = np.arange(looks) * len(world.shares) // looks
    share = np.array(world.shares)[step]
    base = np.array(world.base)[step]
    faulty = np.arange(looks) * LOOK >= world.onset
    n = rng.binomial(LOOK, share)
    rest_n = LOOK - n
    if world.timed:
        return timed_traffic(world, step, (n, rest_n), faulty, rng)
    if world.customers:
        return customer_traffic(world, looks, rng)
    if world.scored:
        return scored_traffic(world, step, (n, rest_n), rng)
    for at in rng.integers(0, max(looks - 10, 1), world.outages):
        base[at : at + 10] = 0.5
    x = rng.binomial(n, np.minimum(np.where(faulty, base * world.worse, base), 1))
    no_quantiles = np.zeros(0)
    return Traffic(step, n, x, rest_n, rng.binomial(rest_n, base), [], (no_quantiles, no_quantiles))


def customer_traffic(world: World, looks: int, rng: np.random.Generator) -> Traffic:
    """Each request draws a customer. Requests of every 50th customer fail with 50 times the base rate, others never."""
    on_trial = rng.random(world.customers) < world.shares[0]
    fails = np.where(np.arange(world.customers) % 50 == 0, 50 * world.base[0], 0.0)
    who = rng.integers(0, world.customers, (looks, LOOK))
    bad = rng.random((looks, LOOK)) < fails[who]
    ours = on_trial[who]
    n, x, y = (np.asarray(a.sum(axis=1), dtype=np.int64) for a in (ours, bad & ours, bad & ~ours))
    failed = [(w[b & o], w[b & ~o]) for w, b, o in zip(who, bad, ours, strict=True)]
    no_quantiles = np.zeros(0)
    return Traffic(
        np.zeros(looks, dtype=np.int64), n, x, LOOK - n, y, [], (no_quantiles, no_quantiles), failed
    )


def scored_traffic(world: World, step: Ints, sizes: tuple[Ints, Ints], rng: np.random.Generator) -> Traffic:
    drawn, high, quantiles = [], [], []
    for size, shape in zip(sizes, (world.scored, CHAMPION_BETA[1]), strict=True):
        scores = rng.beta(CHAMPION_BETA[0], shape, int(size.sum()))
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


def timed_traffic(
    world: World, step: Ints, sizes: tuple[Ints, Ints], faulty: NDArray[np.bool_], rng: np.random.Generator
) -> Traffic:
    seconds, buckets, slow, quantiles = [], [], [], []
    for size, worse in zip(sizes, (world.worse, 1.0), strict=True):
        drawn = MEDIAN * np.exp(SPREAD * rng.standard_normal(int(size.sum())))
        look = np.repeat(np.arange(len(size)), size)
        seconds.append(np.where((drawn > P90) & faulty[look], drawn * worse, drawn))
        ends = np.cumsum(size)[:-1]
        indices = ((np.log(seconds[-1]) - LOG_UNIT) * PER_LOG).astype(np.int64)
        buckets.append(np.split(indices, ends))
        slow.append(np.bincount(look, weights=seconds[-1] > P99, minlength=len(size)).astype(np.int64))
        quantiles.append(by_window(seconds[-1], ends, 0.99))
    n, rest_n = sizes
    pairs = list(zip(buckets[0], buckets[1], strict=True))
    return Traffic(step, n, slow[0], rest_n, slow[1], pairs, (quantiles[0], quantiles[1]))
