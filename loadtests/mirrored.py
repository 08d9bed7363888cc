"""Worlds of mirrored pairs: how often a check of pairs FAILs where the challenger keeps its limit, and how soon where it does not.

Rule: the limit of an ALIKE world is what its challenger really has, to the last digit, so that a test has nothing to spare. All
randomness comes from the given generator. A check is evaluated after each LOOK pairs, with all of α for itself, by the proxy's own code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crossfade.config.model import CheckConfig
from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence, fix_limits, gather
from crossfade.rollout.plan import Check
from crossfade.rollout.strategy import check_of
from crossfade.rollout.verdict import Verdict
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.stats.counts import Cell
from crossfade.stats.distances import distance_level
from crossfade.stats.paired_latency import bucket_for
from crossfade.stats.pairs import Measured, Pair
from loadtests.rollouts import CHALLENGER, CHAMPION, Result
from loadtests.traffic import MEDIAN, SPREAD, Bools, Floats

LOOK = 50  # pairs
A_SECOND = 20  # pairs
PAIRS = 4000
ALPHA = 0.01


@dataclass(frozen=True)
class PairWorld:
    """`distance` and `noise`: means of the distances of the challenger and of the champion's second answers; each is Beta-distributed with
    the sum of shapes `shape`. `changed` and `unlike`: probabilities that the decision of the challenger, and of the second answer, is
    another one; `segments`: how many there are, alike in size. `bad`: probability of a changed decision in the first segment. `factor`: of the
    copies' durations. `pauses`: share of the seconds in which the challenger stands still for that second, and in which the
    champion does. `customers`: 0 without keys; a customer's pairs are all alike.
    """

    name: str
    check: Check
    distance: float = 0.0
    noise: float = 0.0
    shape: float = 2.0
    changed: float = 0.0
    unlike: float = 0.0
    segments: int = 1
    bad: float | None = None
    factor: float = 1.0
    pauses: float = 0.0
    customers: int = 0
    chance: float = 0.1
    pairs: int = PAIRS
    runs: float = 1.0


def check(metric: str, **bounds: Any) -> Check:
    return check_of(CheckConfig.model_validate({"metric": metric, **bounds}))


class Pairing:
    """The pairs of one run."""

    def __init__(self, world: PairWorld, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        self.seen: dict[int, Pair] = {}
        self.n = 0

    def draw(self, n: int) -> Iterator[Pair]:
        world, rng = self.world, self.rng
        twice = rng.random(n) < world.chance
        far, own = self.distances(world.distance, n), self.distances(world.noise, n)
        segment = rng.integers(world.segments, size=n)
        shares = np.where((segment == 0) & (world.bad is not None), world.bad or 0.0, world.changed)
        changed, unlike = rng.random(n) < shares, rng.random(n) < world.unlike
        copies, seconds = self.durations(n)
        tosses = rng.random((2, n))
        for i in range(n):
            at = (self.n + i) // A_SECOND
            again = bool(twice[i])
            measured = Measured(
                distance_level(float(far[i]), float(tosses[0, i])),
                distance_level(float(own[i]), float(tosses[1, i])) if again else None,
                (("country", str(segment[i])),),
                (at, bucket_for(float(copies[i])), bucket_for(float(seconds[i]))) if again else None,
            )
            noise = bool(unlike[i]) if again else None
            yield self.keyed(Pair(None, bool(changed[i]), None, world.chance, noise, measured=measured))
        self.n += n

    def keyed(self, pair: Pair) -> Pair:
        if not self.world.customers:
            return pair
        key = int(self.rng.integers(1, self.world.customers + 1))
        return self.seen.setdefault(key, pair._replace(key=key << 40))

    def distances(self, mean: float, n: int) -> Floats:
        if mean <= 0:
            return np.zeros(n)
        return self.rng.beta(mean * self.world.shape, (1 - mean) * self.world.shape, n)

    def durations(self, n: int) -> tuple[Floats, Floats]:
        """A part of each duration is the request's own, so both of a pair have it."""
        rng, world = self.rng, self.world
        common = rng.normal(size=n)
        ours, theirs = (
            MEDIAN * np.exp(SPREAD * (common + rng.normal(size=n)) / np.sqrt(2)) for _ in range(2)
        )
        second = (self.n + np.arange(n)) // A_SECOND
        return (
            ours * world.factor + self.stands(second, world.pauses),
            theirs + self.stands(second, world.pauses),
        )

    def stands(self, second: np.ndarray[Any, np.dtype[np.int64]], share: float) -> Floats:
        still: Bools = self.rng.random(int(second.max()) + 1) < share
        return np.where(still[second], 1.0, 0.0)


def run(world: PairWorld, rng: np.random.Generator, alpha: float = ALPHA) -> Result:
    """`end`: aborted (a FAIL), promoted (a PASS at the end) or waiting. `requests`: pairs until then."""
    evidence = Evidence(CHAMPION, CHALLENGER)
    evidence.open("r", 1, 0, 0.0)
    fix_limits(evidence, (world.check,))
    context = CheckContext(0, 100, alpha, alpha)
    pairing = Pairing(world, rng)
    verdict, reason, n = Verdict.UNDECIDED, "", 0
    while n < world.pairs and verdict is not Verdict.FAIL:
        cell = Cell("r", CHALLENGER, "shadow", 1, LOOK)
        for pair in pairing.draw(LOOK):
            if pair.key is None:
                cell.pairs.add(*pair[1:])
            else:
                cell.keyed_pairs.append(pair)
        gather(evidence, [cell], (world.check,))
        n += LOOK
        finding = evaluate_check(world.check, evidence, context)
        verdict, reason = finding.verdict, finding.reason
    end = {Verdict.FAIL: "aborted", Verdict.PASS: "promoted"}.get(verdict, "waiting")
    failed = (world.check.title,) if verdict is Verdict.FAIL else ()
    return Result(end, n / A_SECOND, n, 0, failed, reason, 0.0, 0)


DISTANCE, SEGMENTS = check("distance", max=0.05), check("segment_divergence", max="5%")
SLOWER = check("shadow_latency", quantile="p90", max_ratio=1.25)
NOT_SLOWER = check("shadow_latency", quantile="p90", max_ratio=1)

ALIKE = (
    PairWorld("equal models without jitter", DISTANCE),
    PairWorld("jitter of 0.1, and at the limit of `distance`", DISTANCE, distance=0.15, noise=0.1),
    PairWorld("the same, as 0 or 1", DISTANCE, distance=0.15, noise=0.1, shape=0.05),
    PairWorld("the same, 1 % asked twice", DISTANCE, distance=0.15, noise=0.1, chance=0.01),
    PairWorld("5 segments at the limit of `segment_divergence`", SEGMENTS, changed=0.08, unlike=0.03, segments=5),
    PairWorld("100 segments at the limit", SEGMENTS, changed=0.08, unlike=0.03, segments=100),
    PairWorld("1 000 values of a segment at the limit", SEGMENTS, changed=0.08, unlike=0.03, segments=1000),
    PairWorld("5 segments at the limit, 2 000 customers", SEGMENTS, changed=0.08, unlike=0.03, segments=5, customers=2000),
    PairWorld("copies as fast as second answers", NOT_SLOWER, chance=0.5),
    PairWorld("copies at 1.25 times", SLOWER, factor=1.25, chance=0.5),
    PairWorld("both stand still for 1 s of 100", NOT_SLOWER, pauses=0.01, chance=0.5),
)  # fmt: skip
_UNLIKE = (
    PairWorld("twice the limit of `distance`, jitter of 0.1", DISTANCE, distance=0.2, noise=0.1),
    PairWorld("twice the limit of `distance`, no jitter", DISTANCE, distance=0.1),
    PairWorld("every fourth decision changes in 1 of 5 segments", SEGMENTS, changed=0.01, unlike=0.01, segments=5, bad=0.25),
    PairWorld("every second decision changes in 1 of 20 segments", SEGMENTS, changed=0.01, unlike=0.01, segments=20, bad=0.5),
    PairWorld("copies at 1.5 times", SLOWER, factor=1.5, chance=0.5),
)  # fmt: skip
UNLIKE = tuple(replace(world, pairs=5 * PAIRS, runs=0.25) for world in _UNLIKE)
PAIR_WORLDS: dict[str, PairWorld] = {world.name: world for world in (*ALIKE, *UNLIKE)}
