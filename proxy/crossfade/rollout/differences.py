"""Labels of pairs: how much better or worse the challenger is, one difference for each pair.

Rule: a difference is one number d in −1 to 1, and its mean is the difference of the two models. Two kinds of pairs give them:

- *Mirrored pairs*: both models answered one request (the champion for its client, the challenger a copy), and its label is
  known. So a challenger is judged before any client depends on it. The first labelled pair of each key counts.
- *Ranked pairs* (AUC): an answer labelled yes and answers labelled no. The share of these with a lower score has the
  mean AUC. Of a mirrored pair both models rank the same requests. With live traffic each side ranks its own, and as soon as both sides have
  such shares, their means since the last difference make one. So both are of about the same time, and no answer counts twice.

The test is a bet on d (Waudby-Smith & Ramdas, JRSS-B 2024), exact for any distribution; for right and wrong answers it is a sequential McNemar
test. d is rounded at random to levels, so that sums of counts are enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from crossfade.rollout.first_events import FirstEvents
from crossfade.stats.bounded import LEVELS, level_of, log_e_level_above, toss_of

_WAITING = 64  # scores of one side that wait for a label of the other kind; the latest
_OWN = 1  # of a unit, its second toss


def _no_counts() -> list[int]:
    return [0] * (LEVELS + 1)


class Mean(msgspec.Struct):
    n: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        self.n += 1
        self.total += value

    @property
    def value(self) -> float:
        return self.total / self.n if self.n else 0.0


class Ranks(msgspec.Struct):
    """Answers that wait for one with the other label. A score for each model that ranks: one with live traffic, two of a pair."""

    yes: list[tuple[float, ...]] = msgspec.field(default_factory=list)
    no: list[tuple[float, ...]] = msgspec.field(default_factory=list)

    def add(self, scores: tuple[float, ...], is_yes: bool) -> tuple[float, ...] | None:
        """For each model the share of right orders, a tie is half; None while nothing waits to be ranked with."""
        own, others = (self.yes, self.no) if is_yes else (self.no, self.yes)
        if not others:
            own.append(scores)
            del own[:-_WAITING]
            return None
        sign = 1 if is_yes else -1
        shares = [
            sum([(sign * (mine - other) > 0) + (mine == other) / 2 for other in theirs]) / len(others)
            for mine, theirs in zip(scores, zip(*others, strict=True), strict=True)
        ]
        others.clear()
        return tuple(shares)


class Differences(msgspec.Struct):
    """`levels`: of (d + 1)/2. `own`: of the challenger's numbers alone, in 0 to 1. `here` and `rest`: what d is the difference of.

    `better` and `worse`: pairs in which the challenger's number is the higher, or the lower one.
    `unusable`: a label that the metric cannot use. Waiting: `ranks` of pairs or of the challenger, `other_ranks` of the champion, and
    the shares of both sides since the last difference.
    """

    levels: list[int] = msgspec.field(default_factory=_no_counts)
    own: list[int] = msgspec.field(default_factory=_no_counts)
    here: Mean = msgspec.field(default_factory=Mean)
    rest: Mean = msgspec.field(default_factory=Mean)
    better: int = 0
    worse: int = 0
    unusable: str | None = None
    keys: FirstEvents = msgspec.field(default_factory=FirstEvents)
    ranks: Ranks = msgspec.field(default_factory=Ranks)
    other_ranks: Ranks = msgspec.field(default_factory=Ranks)
    here_since: Mean = msgspec.field(default_factory=Mean)
    rest_since: Mean = msgspec.field(default_factory=Mean)

    @property
    def n(self) -> int:
        return sum(self.levels)

    @property
    def mean(self) -> float:
        return self.here.value - self.rest.value

    def sums(self) -> Differences:
        """A copy without what is kept of keys and of answers that wait."""
        return replace(self, keys=FirstEvents(), ranks=Ranks(), other_ranks=Ranks())

    def is_first(self, unit: int, keyed: bool) -> bool:
        return not keyed or self.keys.count([unit]) == 1

    def add(self, here: float, rest: float, unit: int) -> None:
        """A pair's numbers, both in 0 to 1."""
        self.levels[level_of(here - rest, -1.0, 1.0, toss_of(unit, 0))] += 1
        self.own[level_of(here, 0.0, 1.0, toss_of(unit, _OWN))] += 1
        self.here.add(here)
        self.rest.add(rest)
        self.better += here > rest
        self.worse += here < rest

    def rank_pair(self, here: float, rest: float, is_yes: bool, unit: int) -> None:
        """Scores of both models for one request."""
        shares = self.ranks.add((here, rest), is_yes)
        if shares is not None:
            self.add(shares[0], shares[1], unit)

    def rank(self, score: float, is_yes: bool, is_here: bool, unit: int) -> None:
        """A score of one side."""
        found = (self.ranks if is_here else self.other_ranks).add((score,), is_yes)
        if found is None:
            return
        (self.here_since if is_here else self.rest_since).add(found[0])
        if self.here_since.n and self.rest_since.n:
            self.add(self.here_since.value, self.rest_since.value, unit)
            self.here_since, self.rest_since = Mean(), Mean()


def log_e_more(levels: Sequence[int], margin: float) -> float:
    """Log e-value against "the mean of d is at most `margin`": the mean over stakes T of Π(1 + T(d − m)/(1 + m))."""
    return log_e_level_above(levels, (1 + margin) / 2)


def log_e_less(levels: Sequence[int], margin: float) -> float:
    """Log e-value against "the mean of d is at least `margin`"."""
    return log_e_level_above(levels[::-1], (1 - margin) / 2)
