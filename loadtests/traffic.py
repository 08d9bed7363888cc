"""Simulated requests of one route: who sent each, which side and endpoint got it, how long it took, whether it failed.

Rule: all randomness comes from the given generator, so one seed gives one run. Side and endpoint are drawn before the
outcome: a request goes to the challenger where its bucket is below the weight, as in the ledger. What happens in a
world is a list of effects, each of which changes probabilities of failure and durations of the requests of one look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Hashes = NDArray[np.uint64]

MEDIAN, SPREAD = 0.05, 0.5  # of the lognormal durations, seconds
P99 = MEDIAN * float(np.exp(SPREAD * 2.326348))
DAY = 86_400.0


@dataclass
class Requests:
    """The requests of one look; arrays of the same length. `fails`: the probability to fail; `lag`: seconds until a failure is known.

    `bucket`: in [0, 1), of the key or random. `here`: they go to the challenger; `added`: only since this step began.
    `step_age`: seconds since it began; `left`: seconds of its hold that are left. `customer`: −1 without sticky keys.
    """

    at: Floats
    bucket: Floats
    here: Bools
    added: Bools
    step_age: Floats
    left: Floats
    endpoint: Ints
    customer: Ints
    fails: Floats
    seconds: Floats
    lag: Floats
    scoreless: Floats  # the probability that an answer has no score
    watched: bool = False  # the challenger is promoted
    bad: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


Effect = Callable[[Requests], None]
EffectOf = Callable[[np.random.Generator, float], Effect]  # of one run; the float is the horizon in seconds
Rate = Callable[[Floats], Floats]  # requests a second at these seconds


@dataclass(frozen=True)
class World:
    """`settings`: of the rollout, as in the file. `endpoints`: of (challenger, champion).

    `customers`: sticky keys; 0 if each request draws its side. `skew`: exponent of the customers' shares of the traffic.
    `tail`: index of Pareto durations; 0 for lognormal ones. `look`: seconds between two looks. `runs`: how many are simulated,
    as a share of those asked for. `onset`: seconds after the begin from which a fault counts, for delays; negative: before
    the end of the last step. `scored`: the challenger's scores are Beta(2, scored), the champion's Beta(2, 5); 0 without scores.
    """

    name: str
    effects: tuple[EffectOf, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    rate: float | Rate = 100.0
    endpoints: tuple[int, int] = (3, 3)
    customers: int = 0
    skew: float = 0.0
    tail: float = 0.0
    look: int = 10
    runs: float = 1.0
    onset: float = 0.0
    scored: float = 0.0
    horizon: float = 0.0  # seconds; 0: one and a half times the holds


@dataclass(frozen=True)
class Position:
    """The rollout at the begin of a look. `weight`: the challenger's share; `before`: in the step before; `entered`: when it got it."""

    weight: float
    before: float
    entered: float
    hold: float
    watched: bool = False


class Traffic:
    """The requests of one run, drawn look by look."""

    def __init__(self, world: World, rng: np.random.Generator, horizon: float) -> None:
        self.world, self.rng = world, rng
        self.effects = [make(rng, horizon) for make in world.effects]
        count = world.customers
        self.hashes: Hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
        self.buckets = rng.random(count)
        weights = np.arange(1, count + 1) ** -world.skew
        self.shares = np.cumsum(weights / weights.sum()) if count else np.zeros(0)
        self.up = [np.arange(size) for size in world.endpoints]  # of (challenger, champion)

    def eject(self, here: bool, endpoint: int) -> None:
        """It gets no requests from now on."""
        side = 0 if here else 1
        self.up[side] = self.up[side][self.up[side] != endpoint]

    def draw(self, begin: int, end: int, position: Position) -> Requests:
        """The requests routed in these seconds."""
        rng, world = self.rng, self.world
        seconds = np.arange(begin, end, dtype=np.float64)
        rate = world.rate(seconds) if callable(world.rate) else np.full(len(seconds), world.rate)
        counts = rng.poisson(rate)
        at = np.repeat(seconds, counts)
        n = len(at)
        at += rng.random(n)
        customer = np.full(n, -1, dtype=np.int64)
        if world.customers:
            customer = np.searchsorted(self.shares, rng.random(n), side="right").clip(0, world.customers - 1)
        bucket = self.buckets[customer] if world.customers else rng.random(n)
        here = bucket < position.weight
        place = rng.random(n)
        ours, theirs = (up[(place * len(up)).astype(np.int64)] for up in self.up)
        age = at - position.entered
        out = Requests(
            at,
            bucket,
            here,
            here & (bucket >= position.before),
            age,
            position.hold - age,
            np.where(here, ours, theirs),
            customer,
            np.zeros(n),
            self.durations(n),
            np.zeros(n),
            np.zeros(n),
            position.watched,
        )
        for effect in self.effects:
            effect(out)
        out.bad = rng.random(n) < out.fails
        return out

    def durations(self, n: int) -> Floats:
        if self.world.tail:
            return MEDIAN * (1 - self.rng.random(n)) ** (-1 / self.world.tail)
        return MEDIAN * np.exp(SPREAD * self.rng.standard_normal(n))


# ── what happens in a world ──────────────────────────────────────────────────────────────────────


def errors(share: float, here: float | None = None) -> EffectOf:
    """Failures of both sides at random; `here`: the challenger's share, if it is another."""

    def effect(requests: Requests) -> None:
        requests.fails += share if here is None else np.where(requests.here, here, share)

    return lambda rng, horizon: effect


def late_errors(share: float, last: float) -> EffectOf:
    """The challenger's failures in the last seconds of the hold."""

    def effect(requests: Requests) -> None:
        requests.fails[requests.here & (requests.left < last)] = share

    return lambda rng, horizon: effect


def errors_in_watch(share: float) -> EffectOf:
    """The challenger's failures once it is promoted."""

    def effect(requests: Requests) -> None:
        if requests.watched:
            requests.fails[requests.here] = share

    return lambda rng, horizon: effect


def bad_endpoint(share: float, endpoint: int = 0) -> EffectOf:
    """One endpoint of the challenger fails more often than the others."""

    def effect(requests: Requests) -> None:
        requests.fails[requests.here & (requests.endpoint == endpoint)] = share

    return lambda rng, horizon: effect


def slower(factor: float, above: float = 0.0) -> EffectOf:
    """The challenger is slower by this factor where an answer takes longer than `above` seconds."""

    def effect(requests: Requests) -> None:
        requests.seconds[requests.here & (requests.seconds > above)] *= factor

    return lambda rng, horizon: effect


def episodes(
    every: float,
    lasting: float | tuple[float, float],
    fails: float | tuple[float, float] = 0.0,
    factor: float | tuple[float, float] = 1.0,
    lag: float = 0.0,
) -> EffectOf:
    """Times at which both sides fail more or are slower; one at a random moment in each part of `every` seconds.

    Pairs are ranges from which each episode draws. `lag`: the champion's failures are known so many seconds later.
    """

    def of(rng: np.random.Generator, horizon: float) -> Effect:
        begins = np.arange(0, horizon, every)
        begins = begins + rng.random(len(begins)) * every * 0.9

        def drawn(value: float | tuple[float, float]) -> Floats:
            low, high = value if isinstance(value, tuple) else (value, value)
            return low + (high - low) * rng.random(len(begins))

        ends, shares, factors = begins + drawn(lasting), drawn(fails), drawn(factor)

        def effect(requests: Requests) -> None:
            if not len(requests.at):
                return
            first, last = requests.at.min(), requests.at.max()
            for i in np.flatnonzero((begins <= last) & (ends > first)):
                during = (requests.at >= begins[i]) & (requests.at < ends[i])
                requests.fails[during] = np.maximum(requests.fails[during], shares[i])
                requests.seconds[during] *= factors[i]
                requests.lag[during & ~requests.here] = lag

        return effect

    return of


def pauses(an_hour: float, lasting: float | tuple[float, float], sides: tuple[int, int]) -> EffectOf:
    """Each endpoint by itself stands still for a while, so many times an hour; what comes meanwhile waits for the end.

    `sides`: the endpoints of (challenger, champion).
    """

    def of(rng: np.random.Generator, horizon: float) -> Effect:
        found: list[tuple[float, float, bool, int]] = []
        low, high = lasting if isinstance(lasting, tuple) else (lasting, lasting)
        for here, size in ((True, sides[0]), (False, sides[1])):
            for endpoint in range(size):
                begins = rng.random(rng.poisson(an_hour * horizon / 3600)) * horizon
                lengths = low + (high - low) * rng.random(len(begins))
                pairs = zip(begins.tolist(), lengths.tolist(), strict=True)
                found += [(begin, length, here, endpoint) for begin, length in pairs]
        found.sort()
        begins = np.array([begin for begin, *_ in found])

        def effect(requests: Requests) -> None:
            if not len(requests.at):
                return
            first, last = requests.at.min(), requests.at.max()
            low_index = np.searchsorted(begins, first - high)
            for begin, length, here, endpoint in found[low_index : np.searchsorted(begins, last)]:
                held = (requests.at >= begin) & (requests.at < begin + length)
                held &= (requests.here == here) & (requests.endpoint == endpoint)
                requests.seconds[held] += begin + length - requests.at[held]

        return effect

    return of


def poison(share: float, first: int = 0, every: int = 1) -> EffectOf:
    """Requests of some customers fail on either model: of the `first` busiest, or of each `every`-th."""

    def effect(requests: Requests) -> None:
        chosen = (requests.customer < first) if first else (requests.customer % every == every // 2)
        requests.fails[chosen] = share

    return lambda rng, horizon: effect


def cold_start(share: float, lasting: float) -> EffectOf:
    """The traffic that a step adds fails for the first seconds of the step."""

    def effect(requests: Requests) -> None:
        cold = requests.added & (requests.step_age < lasting)
        requests.fails[cold] = np.maximum(requests.fails[cold], share)

    return lambda rng, horizon: effect


def without_score(share: float) -> EffectOf:
    """A share of the challenger's answers has no score."""

    def effect(requests: Requests) -> None:
        requests.scoreless[requests.here] = share

    return lambda rng, horizon: effect


def of_day(mean: float, swing: float) -> Rate:
    """A load curve with its peak at noon and random-looking waves of minutes; the run begins at midnight."""

    def rate(seconds: Floats) -> Floats:
        curve = 1 - swing * np.cos(2 * np.pi * seconds / DAY)
        waves = 1 + 0.2 * np.sin(2 * np.pi * seconds / 613) + 0.1 * np.sin(2 * np.pi * seconds / 97)
        return np.asarray(mean * curve * waves)

    return rate
