"""Pairs: two answers to the same request, that of the champion and that of a mirrored copy.

Rule: of mirrored requests, a known share (the `noise` of the YAML) is sent to the champion twice, by the
toss of a coin. That tells how often the champion disagrees with itself, without knowing anything of it.
"""

from __future__ import annotations

from functools import lru_cache
from math import log1p
from typing import NamedTuple

import msgspec

from crossfade.stats.differences import STAKES
from crossfade.stats.sequential import CACHED, SplitCounts, log_e_worse, log_mean_exp


class Pair(NamedTuple):
    """One pair. `key`: the hash of the customer's, None where there is none; `chance` of asking the champion twice.

    `raised`: whether the challenger said yes, None where decisions are no yes and no. `noise`: whether the champion
    disagreed with itself, None where it was asked once.
    """

    key: int | None
    changed: bool
    raised: bool | None
    chance: float
    noise: bool | None


class Pairs(msgspec.Struct):
    """Pairs of decisions; merging is addition.

    `changed`: the challenger decided otherwise than the champion; `raised`: of these, those in which it
    said yes to the champion's no, and `lowered` those with no to its yes. `chances`: the sum, over the pairs, of the chance that the champion was
    asked twice; `twice`: how often it was; `noise`: how often it then disagreed with itself, and `both` how
    often the challenger disagreed with its first answer as well.
    """

    n: int = 0
    changed: int = 0
    raised: int = 0
    chances: float = 0.0
    twice: int = 0
    noise: int = 0
    both: int = 0
    lowered: int = 0

    def add(
        self, changed: bool, raised: bool | None = None, chance: float = 0.0, noise: bool | None = None
    ) -> None:
        """One pair, as `Pair` has it.

        A second answer of the champion that never came is a disagreement: it excuses the challenger.
        """
        self.n += 1
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

    @property
    def chance(self) -> float:
        """Of asking twice, per pair: one number, as it is one number in the YAML."""
        return self.chances / self.n if self.n else 0.0


def log_e_excess(pairs: Pairs, margin: float) -> float:
    """Log e-value against "the challenger disagrees at most `margin` oftener than the champion with itself".

    With D = 1 for a changed decision, B = 1 with known chance ν for asking twice, N = 1 for noise:
    Z = D − BN/ν − m has mean p_D − p_N − m, so Π(1 + λZ) is bet on as in `differences`. 0 where ν is.
    """
    if pairs.chance <= 0:
        return 0.0
    counts = (
        pairs.both,
        pairs.changed - pairs.both,
        pairs.noise - pairs.both,
        pairs.n - pairs.changed - pairs.noise + pairs.both,
    )
    terms = _excess_factors(pairs.chance, margin)
    return log_mean_exp([sum(n * term for n, term in zip(counts, some, strict=True)) for some in terms])


def gain_excess(pairs: Pairs, margin: float) -> float:
    """Growth of the log e-value per pair, at the present shares and the best stake; 0 if there is none."""
    if not pairs.n or pairs.chance <= 0:
        return 0.0
    p, q, both = pairs.changed / pairs.n, pairs.noise / pairs.n, pairs.both / pairs.n
    shares = (both, p - both, q - both, 1 - p - q + both)
    terms = _excess_factors(pairs.chance, margin)
    return max(0.0, *(sum(s * term for s, term in zip(shares, some, strict=True)) for some in terms))


@lru_cache(CACHED)
def _excess_factors(chance: float, margin: float) -> tuple[tuple[float, float, float, float], ...]:
    """Log factors of a pair with both, with a changed decision, with noise, and with neither."""
    payoffs = (1 - 1 / chance - margin, 1 - margin, -1 / chance - margin, -margin)
    stakes = (t / (1 / chance + margin) for t in STAKES)
    return tuple((a, b, c, d) for a, b, c, d in ([log1p(s * z) for z in payoffs] for s in stakes))


def log_e_direction(pairs: Pairs) -> float:
    """Log e-value against "decisions change to yes as often as to no": McNemar's question, at every look.

    Of the changed decisions, each is a toss of a fair coin then: the two-arm test with w = ½, both sides.
    """
    up, down = pairs.raised, pairs.lowered
    return log_mean_exp([log_e_worse([SplitCounts(0.5, *sides)], 1.0) for sides in ((up, down), (down, up))])
