"""How far the numbers of earlier answers spread: the unit in which later numbers are compared.

Rule: a spread comes from answers before the one that it is applied to. A wrong one costs power, not validity.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite, sqrt

import msgspec

from crossfade.quality.answer import Row

LEAST = 30  # numbers from which a spread is known
MOST_NAMES = 256


class Moments(msgspec.Struct):
    """Number, mean, and sum of squared differences from the mean (Welford's update)."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.n += 1
        before = value - self.mean
        self.mean += before / self.n
        self.squares += before * (value - self.mean)

    @property
    def deviation(self) -> float:
        return sqrt(self.squares / (self.n - 1)) if self.n > 1 else 0.0


class Spreads:
    """Of the champion's numbers, by the name of an output."""

    def __init__(self) -> None:
        self.moments: dict[str, Moments] = {}
        self.known: dict[str, float] = {}

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            for output in row:
                value = output.value
                if output.kind in ("number", "score") and isinstance(value, int | float) and isfinite(value):
                    self._add(output.name, float(value))

    def _add(self, name: str, value: float) -> None:
        found = self.moments.get(name)
        if found is None:
            if len(self.moments) >= MOST_NAMES:
                return
            self.moments[name] = found = Moments()
        found.add(value)
        if found.n >= LEAST and isfinite(found.deviation):
            self.known[name] = found.deviation
