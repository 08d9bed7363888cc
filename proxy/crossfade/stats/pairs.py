"""Pairs: two answers to the same request, the champion's and the challenger's answer to a mirrored copy.

Rule: a mirrored request is sent to the champion twice with a known probability (the `noise` of the YAML), drawn
independently of everything else. These second answers measure how often the champion disagrees with itself.
"""

from __future__ import annotations

from functools import lru_cache
from math import fsum, log1p
from typing import NamedTuple, Protocol

import msgspec

from crossfade.stats.differences import STAKES
from crossfade.stats.distances import Distances
from crossfade.stats.paired_latency import Durations, PairedLatency
from crossfade.stats.segments import SegmentPairs, Segments, add_segment, merge_segments
from crossfade.stats.sequential import CACHED, SplitCounts, log_e_worse, log_mean_exp


class Measured(NamedTuple):
    """What a pair tells beside its decisions.

    `distance`: level of the distance between champion and challenger (stats.distances), None if it was not measured;
    `noise_distance`: between the champion's two answers. `segments`: (source, value). `durations`: of the copy and of the
    champion's second answer, if both are known. `decided`: whether the champion's answer says a decision.
    """

    distance: int | None = None
    noise_distance: int | None = None
    segments: tuple[tuple[str, str], ...] = ()
    durations: Durations | None = None
    decided: bool = True


class Pair(NamedTuple):
    """One pair. `key`: hash of the sticky key, None without one. `chance`: probability of asking the champion twice.

    `changed`: whether the two decisions differ. `raised`: whether the challenger decided yes, None if decisions are
    not yes or no. `noise`: whether the champion disagreed with itself, None if it was asked once. `missing`: the challenger
    gave no decision where the champion did, so it changed it. `lost`: an answer of the challenger (True) or of the champion
    (False) was lost, so the pair says nothing of decisions.
    """

    key: int | None
    changed: bool
    raised: bool | None
    chance: float
    noise: bool | None
    missing: bool = False
    lost: bool | None = None
    measured: Measured | None = None


class Pairs(msgspec.Struct):
    """Counts of pairs; merging is addition.

    `n`: pairs of decisions; all counts but `distances` and `latency` are of these. `changed`: the challenger's decision differs from the champion's. Of these, `raised`: yes instead of no, and
    `lowered`: no instead of yes, and `missing`: no decision. `chances`: the sum over all pairs of the probability that the champion is asked
    twice. `twice`: how often it was. `noise`: how often it then disagreed with itself. `both`: how often then the
    challenger disagreed with the champion's first answer as well. Not in `n`: pairs that `lost` the challenger's answer, and
    pairs that lost the champion's.
    """

    n: int = 0
    changed: int = 0
    raised: int = 0
    chances: float = 0.0
    twice: int = 0
    noise: int = 0
    both: int = 0
    lowered: int = 0
    missing: int = 0
    lost: int = 0
    champion_lost: int = 0
    distances: Distances = msgspec.field(default_factory=Distances)
    segments: Segments = msgspec.field(default_factory=dict)
    latency: PairedLatency = msgspec.field(default_factory=PairedLatency)

    def add(
        self,
        changed: bool,
        raised: bool | None = None,
        chance: float = 0.0,
        noise: bool | None = None,
        missing: bool = False,
        lost: bool | None = None,
        measured: Measured | None = None,
    ) -> None:
        """Add one pair; arguments are the fields of `Pair`.

        A missing second answer of the champion counts as a disagreement with itself (`noise`), in favour of the challenger.
        """
        if lost is not None:
            self.lost += lost
            self.champion_lost += not lost
            return
        if measured is not None:
            self.distances.add(measured.distance, measured.noise_distance, chance)
            self.latency.add(measured.durations)
            if not measured.decided:
                return
            for source, value in measured.segments:
                add_segment(self.segments, source, value, SegmentPairs.of(changed, chance, noise))
        self.n += 1
        self.missing += missing
        self.changed += changed
        self.raised += changed and raised is True
        self.lowered += changed and raised is False
        self.chances += chance
        if noise is not None:
            self.twice += 1
            self.noise += noise
            self.both += noise and changed

    def merge(self, other: Pairs) -> None:
        self.n += other.n
        self.changed += other.changed
        self.raised += other.raised
        self.chances += other.chances
        self.twice += other.twice
        self.noise += other.noise
        self.both += other.both
        self.lowered += other.lowered
        self.missing += other.missing
        self.lost += other.lost
        self.champion_lost += other.champion_lost
        self.distances.merge(other.distances)
        merge_segments(self.segments, other.segments)
        self.latency.merge(other.latency)

    @property
    def chance(self) -> float:
        """The mean probability of asking the champion twice. The YAML sets one value, so the mean is that value."""
        return self.chances / self.n if self.n else 0.0


class Changes(Protocol):
    """Counts of pairs, as of all or of those of one segment; the fields are those of `Pairs`."""

    n: int
    changed: int
    noise: int
    both: int

    @property
    def chance(self) -> float: ...


def log_e_excess(pairs: Changes, margin: float) -> float:
    """Log e-value against "the share of changed decisions is at most the champion's noise plus `margin`".

    With D = 1 for a changed decision, B = 1 with known probability ν for asking twice, N = 1 for noise:
    Z = D − BN/ν − m has mean p_D − p_N − m, so the wealth is Π(1 + λZ) as in `differences`. 0 if ν = 0.
    """
    if pairs.chance <= 0:
        return 0.0
    counts = (
        pairs.both,
        pairs.changed - pairs.both,
        pairs.noise - pairs.both,
        pairs.n - pairs.changed - pairs.noise + pairs.both,
    )
    factors = _excess_factors(pairs.chance, margin)
    return log_mean_exp([fsum(n * term for n, term in zip(counts, some, strict=True)) for some in factors])


def gain_excess(pairs: Changes, margin: float) -> float:
    """Expected growth of the log e-value in nats per pair, at the present shares and the best stake; 0 if there is none."""
    if not pairs.n or pairs.chance <= 0:
        return 0.0
    p, q, both = pairs.changed / pairs.n, pairs.noise / pairs.n, pairs.both / pairs.n
    shares = (both, p - both, q - both, 1 - p - q + both)
    factors = _excess_factors(pairs.chance, margin)
    return max(0.0, *(fsum(s * term for s, term in zip(shares, some, strict=True)) for some in factors))


@lru_cache(CACHED)
def _excess_factors(chance: float, margin: float) -> tuple[tuple[float, float, float, float], ...]:
    """Log factors for each stake: of a pair with both, with a changed decision, with noise, and with neither."""
    payoffs = (1 - 1 / chance - margin, 1 - margin, -1 / chance - margin, -margin)
    stakes = (t / (1 / chance + margin) for t in STAKES)
    return tuple((a, b, c, d) for a, b, c, d in ([log1p(s * z) for z in payoffs] for s in stakes))


def log_e_direction(pairs: Pairs) -> float:
    """Log e-value against "decisions change to yes as often as to no" (McNemar's hypothesis), valid at every look.

    Under it each changed decision is a Bernoulli trial with probability ½: the two-sample test with w = ½, two-sided.
    """
    up, down = pairs.raised, pairs.lowered
    return log_mean_exp([log_e_worse([SplitCounts(0.5, *sides)], 1.0) for sides in ((up, down), (down, up))])
