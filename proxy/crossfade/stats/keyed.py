"""Keys as the unit of a comparison: the requests of one customer depend on each other, and keep one side.

Of key k: N requests, X of them with an event, A = 1 on the side under test, which has the share w of the keys. With b the
pooled rate of events,

    S = Σ_k (A − w)(X − bN) − w(1 − w)·margin·ΣN,   V = max(Σ((A − w)(X − bN))², w(1 − w)Σ(X − bN)²)

(ratio per request with the key as the unit: Deng, Knoblich and Lu, KDD 2018), in the one-sided normal mixture
(Howard et al. 2021). The other direction is the same with −S: proof that the margin is kept. Both are polynomials in b, so
per side only n, Σx, Σx², ΣxN and ΣN² are kept; who the keys are is not needed for a verdict.

Requests without a key are a unit each. Asymptotic in the number of keys with an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from crossfade.stats.means import log_e_drift_scaled


class Sizes(msgspec.Struct):
    """Of the keys of one side: their number, Σ N and Σ N²."""

    keys: int = 0
    n: int = 0
    nn: int = 0

    def merge(self, other: Sizes) -> None:
        self.keys += other.keys
        self.n += other.n
        self.nn += other.nn


class KeyedEvents(msgspec.Struct):
    """Events of one kind of the keys of one side: Σ X, Σ X² and Σ X·N."""

    x: int = 0
    xx: int = 0
    xn: int = 0

    def merge(self, other: KeyedEvents) -> None:
        self.x += other.x
        self.xx += other.xx
        self.xn += other.xn


class KeyedSplit(NamedTuple):
    """One stratum: `here` is the side under test, with the share of the keys `share`."""

    share: float
    here: Sizes
    rest: Sizes
    events: KeyedEvents
    rest_events: KeyedEvents


def pooled_rate(strata: Sequence[KeyedSplit]) -> float:
    n = sum(c.here.n + c.rest.n for c in strata)
    return sum(c.events.x + c.rest_events.x for c in strata) / n if n else 0.0


def log_e_keys_increase(strata: Sequence[KeyedSplit], margin: float, alpha: float) -> float:
    """Log e-value, asymptotically, against "an event is at most `margin` more likely here", keys as the unit."""
    found = sums_of(strata, margin, pooled_rate(strata))
    return _mixture(found.s, found.v, found.unit, alpha)


def log_e_keys_within(strata: Sequence[KeyedSplit], margin: float, alpha: float) -> float:
    """Log e-value, asymptotically, against "an event is at least `margin` more likely here": proof that it is kept.

    The variance is at least that of events which are as rare as `margin`, so that few events are no proof by themselves.
    """
    found = sums_of(strata, margin, pooled_rate(strata))
    least = sum((1 - c.share) ** 2 * margin * (1 - margin) * c.here.n for c in strata)
    return _mixture(
        -found.s, max(found.v, least), found.unit or least / max(sum(c.here.n for c in strata), 1), alpha
    )


def log_e_keys_above(strata: Sequence[KeyedSplit], p0: float, alpha: float) -> float:
    """Log e-value, asymptotically, against "the share of events here is at most p0", keys as the unit."""
    s, v = _from_share(strata, p0)
    return _mixture(s, v, p0 * (1 - p0), alpha)


def log_e_keys_below(strata: Sequence[KeyedSplit], p0: float, alpha: float) -> float:
    """Log e-value, asymptotically, against "the share of events here is at least p0", keys as the unit."""
    s, v = _from_share(strata, p0)
    return _mixture(-s, v, p0 * (1 - p0), alpha)


def _from_share(strata: Sequence[KeyedSplit], p0: float) -> tuple[float, float]:
    """Σ(X − p0·N) of the side under test, and its variance."""
    n, x = sum(c.here.n for c in strata), sum(c.events.x for c in strata)
    return x - p0 * n, max(sum(_squares(c.here, c.events, p0) for c in strata), p0 * (1 - p0) * n)


class KeyedSums(NamedTuple):
    """S, V, and the variance that one event adds."""

    s: float
    v: float
    unit: float


def sums_of(strata: Sequence[KeyedSplit], margin: float, b: float) -> KeyedSums:
    """`b`: the rate of events around which they are summed."""
    s = observed = expected = events = 0.0
    for w, here, rest, ours, theirs in strata:
        s += (1 - w) * (ours.x - b * here.n) - w * (theirs.x - b * rest.n)
        s -= w * (1 - w) * margin * (here.n + rest.n)
        near, far = _squares(here, ours, b), _squares(rest, theirs, b)
        observed += (1 - w) ** 2 * near + w * w * far
        expected += w * (1 - w) * (near + far)
        events += ours.x + theirs.x
    return KeyedSums(s, max(observed, expected), expected / events if events else 0.0)


def _squares(sizes: Sizes, events: KeyedEvents, b: float) -> float:
    """Σ(X − bN)²."""
    return max(events.xx - 2 * b * events.xn + b * b * sizes.nn, 0.0)


def _mixture(s: float, v: float, unit: float, alpha: float) -> float:
    if v <= 0 or unit <= 0:
        return 0.0
    return log_e_drift_scaled(s, v, unit, alpha)
