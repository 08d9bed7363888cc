"""Means compared while weights grow, at continuous looks: equal sides are not called different, even with heavy tails."""

from __future__ import annotations

import numpy as np
import pytest

from crossfade.stats.means import MIN_UNITS, Moments, SplitMoments, mean_interval, weighted_difference

ALPHA, RUNS, UNITS, LOOK = 0.05, 60, 10_000, 200
RAMP = ((0.05, 1.0), (0.25, 1.3), (0.5, 1.6))  # share, and the conversion rate relative to the first


def values(kind: str, rate: float, rng: np.random.Generator) -> np.ndarray:
    converts = rng.random(UNITS) < rate
    return converts * (1.0 if kind == "conversion" else np.exp(3 + 1.5 * rng.standard_normal(UNITS)))


def ever_differs(kind: str, gain: float, rng: np.random.Generator) -> bool:
    finished: list[SplitMoments] = []
    for share, factor in RAMP:
        now, here = SplitMoments(share, Moments(), Moments()), rng.random(UNITS) < share
        y = values(kind, 0.04 * factor, rng) * np.where(here, gain, 1.0)
        sums = [np.cumsum(a) for a in (here, here * y, here * y * y, ~here, ~here * y, ~here * y * y)]
        for at in range(LOOK - 1, UNITS, LOOK):
            n, s, q, m, t, r = (float(a[at]) for a in sums)
            now = SplitMoments(share, Moments(int(n), s, q), Moments(int(m), t, r))
            low, high = mean_interval(weighted_difference([*finished, now]), ALPHA)
            if min(n, m) >= MIN_UNITS and not low <= 0 <= high:
                return True
        finished.append(now)
    return False


@pytest.mark.parametrize("kind", ["conversion", "revenue"])
def test_equal_sides_are_not_called_different(kind):
    """Nine of 60 at α = 5 % have a probability of about 1 %. With the usual variance it was 17."""
    rng = np.random.default_rng(8)
    assert sum(ever_differs(kind, 1.0, rng) for _ in range(RUNS)) < 9


def test_a_gain_is_found():
    rng = np.random.default_rng(9)
    assert sum(ever_differs("conversion", 1.5, rng) for _ in range(10)) == 10
