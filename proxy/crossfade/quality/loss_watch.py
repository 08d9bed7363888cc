"""Concept drift: is the champion's loss still what it was? From ripe labels, window by window.

The loss of one answer is its Brier score (score − label)², where it has a score from 0 to 1 and the label is 0 or 1; else 0 for
the right label and 1 for another. H0 of a window: its mean is at most the reference's mean, plus the tolerance, plus what the
reference's own sampling error may be. The e-value is that of a bounded mean (`stats.bounded`), for the detector LOSS.

Rule: each ripe prediction is looked at once (`fed_to`), and a customer counts once in a window.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from crossfade.quality.answer import Decision
from crossfade.quality.field_drift import REFERENCE_ALPHA
from crossfade.quality.monitor import ENOUGH, LOSS, Alarm, Bet, Monitor
from crossfade.stats.bounded import LEVELS, level_above_logs, level_of, log_e_level_above, toss_of
from crossfade.stats.drift import sampling_error

REFERENCE = 1000  # labels that say what the loss was, where no profile does


class Mean(msgspec.Struct):
    """Of numbers from 0 to 1. `levels`: counts by level, as `stats.bounded` has them."""

    n: int = 0
    total: float = 0.0
    levels: list[int] = msgspec.field(default_factory=lambda: [0] * (LEVELS + 1))

    def add(self, value: float, unit: int) -> None:
        self.n += 1
        self.total += value
        self.levels[level_of(value, 0.0, 1.0, toss_of(unit, 0))] += 1

    @property
    def value(self) -> float:
        return self.total / self.n if self.n else 0.0


class Labelled(NamedTuple):
    """One ripe prediction of the champion with its label. `unit`: hash of the key, or of the request's id."""

    unit: int
    score: float | None
    label: Decision | None
    truth: float | str


class LossWatch(msgspec.Struct):
    """`reference`: what the loss was; `is_given`: a profile says so. `latest`: of the last full window, which ended at `ended`."""

    backend: str = ""
    fed_to: int = 0
    reference: Mean = msgspec.field(default_factory=Mean)
    is_given: bool = False
    slot: int = -1
    window: Mean = msgspec.field(default_factory=Mean)
    latest: Mean = msgspec.field(default_factory=Mean)
    windows: int = 0

    def is_of(self, backend: str, loss: float | None, n: int) -> bool:
        """Whether it began with these."""
        if loss is None or not n:
            return backend == self.backend and not self.is_given
        given = self.reference.n, self.reference.total
        return backend == self.backend and self.is_given and given == (n, loss * n)

    def begin(self, backend: str, loss: float | None, n: int) -> None:
        """Another backend, or another reference. `loss`: that of the backend's profile, of n labels."""
        self.backend, self.is_given = backend, loss is not None and n > 0
        self.reference = Mean(n, loss * n) if loss is not None and n > 0 else Mean()
        self.window, self.latest, self.windows = Mean(), Mean(), 0

    def add(self, row: Labelled, units: set[int]) -> None:
        """`units`: that have counted in the present window."""
        loss = loss_of(row)
        if loss is None or row.unit in units:
            return
        units.add(row.unit)
        if self.reference.n < REFERENCE and not self.is_given:
            self.reference.add(loss, row.unit)
        else:
            self.window.add(loss, row.unit)

    def limit(self, tolerance: float) -> float:
        """Of the mean of a window."""
        return self.reference.value + tolerance + sampling_error(self.reference.n, REFERENCE_ALPHA)

    def look(self, monitor: Monitor, slot: int, given: Looks, now: float) -> Alarm | None:
        """Close the window where another one has begun. `slot`: the number of the present window."""
        before, self.slot = self.slot, slot  # it falls where a window has become longer
        if before < 0 or slot == before or not self.window.n:
            return None
        self.latest, self.window = self.window, Mean()
        self.windows += 1
        limit, mean = self.limit(given.tolerance), self.latest.value
        detail = (
            f"the mean loss of {self.backend} is {mean:.3g} in {self.latest.n} labels; it was {self.reference.value:.3g} in "
            f"{self.reference.n}, and {given.tolerance:.3g} more is allowed"
        )
        is_calm = self.latest.n >= ENOUGH and mean <= self.reference.value + given.tolerance
        log_e = log_e_level_above(self.latest.levels, limit)
        numbers = {
            "n": float(self.latest.n),
            "loss": mean,
            "reference": self.reference.value,
            "log_e": log_e,
        }
        stakes = [level_above_logs(self.latest.levels, limit)]
        bet = Bet("concept_drift", self.backend, log_e, is_calm, detail, numbers, stakes)
        return monitor.bet(LOSS, bet, given.limit, now)


class Looks(NamedTuple):
    """`limit`: of log M."""

    tolerance: float
    limit: float


def loss_of(row: Labelled) -> float | None:
    """0 to 1; None where the answer and the label cannot be compared."""
    score, truth = row.score, row.truth
    if score is not None and truth in (0, 1) and 0 <= score <= 1:
        return (score - float(truth)) ** 2
    if row.label is None:
        return None
    said = float(row.label) if isinstance(row.label, bool) else row.label
    if isinstance(said, str) != isinstance(truth, str):
        return None
    return float(said != truth)
