"""Other decision methods: each takes the traffic of a run and returns the look at which it aborts, or None.

They are what other tools do, in the simplest form: a z-test at every look, Mann-Whitney on intervals (as
Kayenta's judge), and counters of intervals above a limit (as Flagger and Argo Rollouts).
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

from loadtests.worlds import HIGH, LOOK, P99, WINDOW, Floats, Ints, Traffic, World

Z_ONE_PERCENT = 2.326348
Z_TWO_PERCENT = 2.326348  # two-sided
FEWEST_WINDOWS = 10
FLAGGER_THRESHOLD = 5  # failed checks that end a rollout
ARGO_FAILURE_LIMIT = 3  # failed measurements that do not yet end a rollout
LOOKS = WINDOW // LOOK


def naive_z(world: World, simulated: Traffic) -> int | None:
    """One-sided, p < 1 %, on all counts so far, at every look."""
    n, x, m, y = (
        np.cumsum(a).astype(float) for a in (simulated.n, simulated.x, simulated.rest_n, simulated.rest_x)
    )
    pooled = (x + y) / (n + m)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (x / n - y / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return first_look(z > Z_ONE_PERCENT)


def mann_whitney(world: World, simulated: Traffic) -> int | None:
    """Two-sided, p < 2 %, on all intervals so far, from the tenth interval on."""
    ours, theirs = by_window(world, simulated)
    for count in range(FEWEST_WINDOWS, len(ours) + 1):
        if rank_z(ours[:count], theirs[:count]) > Z_TWO_PERCENT:
            return count * LOOKS - 1
    return None


def rank_z(ours: Floats, theirs: Floats) -> float:
    """Mann-Whitney's U of "ours are larger" in standard deviations, corrected for ties."""
    n, m = len(ours), len(theirs)
    u = float((np.sign(ours[:, None] - theirs[None, :]) + 1).sum()) / 2
    _, ties = np.unique(np.concatenate((ours, theirs)), return_counts=True)
    corrected = (n + m + 1) - float((ties**3 - ties).sum()) / ((n + m) * (n + m - 1))
    return (u - n * m / 2) / sqrt(n * m / 12 * corrected) if corrected > 0 else 0.0


def flagger(world: World, simulated: Traffic) -> int | None:
    """Abort at the fifth interval above the limit."""
    return nth_over(world, simulated, FLAGGER_THRESHOLD)


def argo(world: World, simulated: Traffic) -> int | None:
    """Abort at the fourth interval above the limit."""
    return nth_over(world, simulated, ARGO_FAILURE_LIMIT + 1)


def nth_over(world: World, simulated: Traffic, nth: int) -> int | None:
    """The limit is twice the true error rate, or 1.2 times the true p99 (p90 of scores)."""
    limit = 1.2 * P99 if world.timed else 1.2 * HIGH if world.scored else 2 * max(world.base)
    over = first_look(np.cumsum(by_window(world, simulated)[0] > limit) >= nth)
    return None if over is None else (over + 1) * LOOKS - 1


def by_window(world: World, simulated: Traffic) -> tuple[Floats, Floats]:
    """Error share, or a quantile, of challenger and champion in each interval."""
    if world.timed or world.scored:
        return simulated.quantiles
    return sum_by_window(simulated.x) / np.maximum(sum_by_window(simulated.n), 1), sum_by_window(
        simulated.rest_x
    ) / np.maximum(sum_by_window(simulated.rest_n), 1)


def sum_by_window(per_look: Ints) -> Ints:
    whole = len(per_look) // LOOKS * LOOKS
    sums: Ints = per_look[:whole].reshape(-1, LOOKS).sum(axis=1)
    return sums


def first_look(hits: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int | None:
    return int(hits.argmax()) if hits.any() else None


RIVALS: dict[str, Callable[[World, Traffic], int | None]] = {
    "naive z, p < 1 %, every look": naive_z,
    "Mann-Whitney on intervals": mann_whitney,
    "Flagger-like counting": flagger,
    "Argo-like counting": argo,
}
