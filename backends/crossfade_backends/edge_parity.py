"""How far the scores of one version are from those of another for the same rows, and whether that is near enough."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from crossfade_backends.data import FloatArray
from crossfade_backends.scoring import risk_level


@dataclass(frozen=True, slots=True)
class Limits:
    """`changed`: share of decisions; `difference`: of two scores."""

    changed: float = 0.01
    difference: float = 0.05


@dataclass(frozen=True, slots=True)
class Parity:
    """`changed`: rows with another risk level, by "before → after". `largest` and `mean`: of the differences of scores."""

    rows: int
    changed: dict[str, int]
    largest: float
    mean: float

    @property
    def share(self) -> float:
        return sum(self.changed.values()) / self.rows

    def problems(self, limits: Limits) -> list[str]:
        """Empty if it is near enough."""
        found = []
        if self.share > limits.changed:
            found.append(f"{self.share:.2%} of the decisions changed; the limit is {limits.changed:.2%}")
        # Not a number is not near.
        if not self.largest <= limits.difference:
            found.append(f"scores differ by up to {self.largest:.2g}; the limit is {limits.difference:g}")
        return found

    def line(self) -> str:
        changes = "".join(f", {change}: {count}" for change, count in sorted(self.changed.items()))
        return (
            f"{self.share:.2%} of {self.rows} decisions changed{changes}; "
            f"scores differ by {self.mean:.1e} on average, at most {self.largest:.1e}"
        )


def parity(before: FloatArray, after: FloatArray) -> Parity:
    """(n,) scores of the same n > 0 rows."""
    levels = zip(map(risk_level, before.tolist()), map(risk_level, after.tolist()), strict=True)
    changed = Counter(f"{was} → {became}" for was, became in levels if was != became)
    differences = np.abs(after - before)
    return Parity(len(before), dict(changed), float(differences.max()), float(differences.mean()))
