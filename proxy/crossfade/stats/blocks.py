"""Blocks of time as the unit of a comparison: outcomes of one instance come in bursts (a pause, a restart).

The tests of `sequential` and `differences` take requests as independent given their sides. Within a burst of one instance
they are not: one pause of a second makes hundreds of answers slow. So a FAIL must hold with blocks of BLOCK seconds as the
unit too. With x events of the side under test and y of the other in a block of n requests,

    Z = D − drift·n,   D = (1 − w)x − w y,   drift = w(1 − w)·margin

has mean at most 0 while the margin is kept, whatever happens to both sides at once. S = ΣZ is compared with its variance
by the one-sided normal mixture (Howard et al. 2021), V = max(Σ(Z − Z̄)² + Z̄², w(1 − w)·events), Z̄ the mean of the blocks.
Σ(Z − Z̄)² alone is 0 after one block; + Z̄² makes one burst worth half a nat, and a fault that stays is proven after a few blocks.

Where one side has all of the traffic, Z = x − p0·n, and what happens to every model at once counts against this one. Such
causes last longer than a pause of one instance: RUN blocks in a row may be one event, so V is RUN times as large. A burst of up
to RUN blocks is then worth at most RUN / 2 nats, before the price of the restarts.

Rule: this is a gate on top of a valid test, so it can only lower the number of false FAILs. It is no proof by itself: it
assumes that blocks are uncorrelated, and symmetric or many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log
from typing import NamedTuple

import msgspec

from crossfade.stats.means import log_e_drift_scaled
from crossfade.stats.restarts import SLOTS
from crossfade.stats.sequential import log_mean_exp

BLOCK = 5  # seconds
RUN = 12  # blocks of one burst at most, where nobody is there to compare with: a minute


class BlockSums(msgspec.Struct):
    """Sums over closed blocks. `k`: blocks; `n`: requests; `nn`, `dn`: Σn², ΣD·n. Merging is addition."""

    k: int = 0
    d: float = 0.0
    n: int = 0
    dd: float = 0.0
    dn: float = 0.0
    nn: int = 0
    events: int = 0

    def add(self, d: float, n: int, events: int) -> None:
        """One block."""
        self.k += 1
        self.d += d
        self.n += n
        self.dd += d * d
        self.dn += d * n
        self.nn += n * n
        self.events += events

    def merge(self, other: BlockSums) -> None:
        self.k += other.k
        self.d += other.d
        self.n += other.n
        self.dd += other.dd
        self.dn += other.dn
        self.nn += other.nn
        self.events += other.events

    def since(self, mark: BlockSums) -> BlockSums:
        """The blocks after those of `mark`."""
        return BlockSums(
            self.k - mark.k,
            self.d - mark.d,
            self.n - mark.n,
            self.dd - mark.dd,
            self.dn - mark.dn,
            self.nn - mark.nn,
            self.events - mark.events,
        )


class Blocks(msgspec.Struct):
    """The closed blocks of one stratum, and the open one: the number of the block, and its D, n and events."""

    closed: BlockSums = msgspec.field(default_factory=BlockSums)
    block: int = 0
    d: float = 0.0
    n: int = 0
    events: int = 0

    def add(self, block: int, d: float, n: int, events: int) -> None:
        """Add to the open block, which a later number closes. What comes late for a closed block counts in the open one."""
        if block > self.block:
            self.close()
            self.block = block
        self.d += d
        self.n += n
        self.events += events

    def close(self) -> None:
        if self.n:
            self.closed.add(self.d, self.n, self.events)
        self.d, self.n, self.events = 0.0, 0, 0

    @property
    def sums(self) -> BlockSums:
        """With the open block as if it were closed."""
        if not self.n:
            return self.closed
        out = msgspec.structs.replace(self.closed)
        out.add(self.d, self.n, self.events)
        return out


class Drift(NamedTuple):
    """Blocks of one stratum, their `drift` under the hypothesis, and the `noise`: the least variance that they can have.

    `run`: how many blocks in a row may be one event.
    """

    sums: BlockSums
    drift: float
    noise: float
    run: int = 1


def of_difference(sums: BlockSums, share: float, margin: float) -> Drift:
    """For "at most `margin` more likely here"."""
    return Drift(sums, share * (1 - share) * margin, share * (1 - share) * sums.events)


def of_share(sums: BlockSums, p0: float, run: int = 1) -> Drift:
    """For "at most p0 of the requests here have an event"; D is x where only one side has traffic."""
    return Drift(sums, p0, p0 * (1 - p0) * sums.n, run)


def log_e_blocks(strata: Sequence[Drift], alpha: float) -> float:
    """Log e-value, asymptotically, against "the drift is kept", blocks as the unit. `alpha` only tunes the mixture."""
    k = sum(s.sums.k for s in strata)
    if not k:
        return 0.0
    s = sum(each.sums.d - each.drift * each.sums.n for each in strata)
    squares = sum(_squares(each) for each in strata)
    spread = squares - s * s / k + s * s / (k * k)
    v = max(spread, sum(each.noise for each in strata)) * max(each.run for each in strata)
    if v <= 0:
        return 0.0
    unit = sum(each.noise for each in strata) / max(sum(each.sums.events for each in strata), 1)
    return log_e_drift_scaled(s, v, unit or 1.0, alpha)


def _squares(each: Drift) -> float:
    """ΣZ²."""
    sums, c = each.sums, each.drift
    return sums.dd - 2 * c * sums.dn + c * c * sums.nn


def log_e_blocks_restarted(strata: Sequence[Drift], starts: Iterable[Sequence[Drift]], alpha: float) -> float:
    """Half of the wealth from the start, half over the slots of `stats.restarts`. `starts`: the blocks since each mark."""
    later = [log_e_blocks(start, alpha) for start in starts]
    slots = max(SLOTS, len(later))  # callers keep to SLOTS
    logs = [log_e_blocks(strata, alpha), *(each - log(slots) for each in later)]
    if len(later) < slots:
        logs.append(log((slots - len(later)) / slots))
    return log_mean_exp(logs) + log(len(logs) / 2)
