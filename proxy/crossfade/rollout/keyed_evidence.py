"""Tests on sticky routes, where the key is the unit.

Two of them count, each with half of the wealth, and the mean of two e-values is one:

- of the first event of each key in the step (rollout.first_events). It is exact, also for a few keys that always fail. It has
  no more evidence when most keys have had their event.
- of the rate of events, keys as the unit (stats.keyed). It finds keys that fail more often, and a few keys with most of the
  events are little evidence. It is asymptotic in the number of keys.

That a limit is kept is proven by the second alone, as its first events never prove that.
"""

from __future__ import annotations

from collections.abc import Sequence

from crossfade.rollout.strata import Stratum
from crossfade.stats.keyed import KeyedSplit, log_e_keys_above, log_e_keys_increase
from crossfade.stats.sequential import log_mean_exp


def keyed_splits(strata: Sequence[Stratum], kind: str) -> list[KeyedSplit]:
    """Each key as a unit, and each request without a key; empty where no request had a key."""
    keyed = [s for s in strata if s.keys.challenger.sizes.keys or s.keys.champion.sizes.keys]
    if not keyed:
        return []
    alone = (s.unkeyed.split(s.share, kind) for s in strata)
    return [*(s.keys.split(s.share, kind) for s in keyed), *(c for c in alone if c.here.n or c.rest.n)]


def with_keys_increase(
    log_e: float, strata: Sequence[Stratum], kind: str, margin: float, alpha: float
) -> float:
    """`log_e`: of the first events, against "at most `margin` more likely at the challenger"."""
    splits = keyed_splits(strata, kind)
    return log_mean_exp([log_e, log_e_keys_increase(splits, margin, alpha)]) if splits else log_e


def with_keys_above(log_e: float, strata: Sequence[Stratum], kind: str, p0: float, alpha: float) -> float:
    """`log_e`: of the first events, against "at most p0 of the challenger's requests"."""
    splits = keyed_splits(strata, kind)
    return log_mean_exp([log_e, log_e_keys_above(splits, p0, alpha)]) if splits else log_e
