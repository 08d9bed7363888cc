"""Gates: what must hold besides the test itself before evidence is a FAIL.

The tests of `checks` take outcomes as independent given their sides (requests, or keys where requests have sticky ones).
Real outcomes are not: they come in bursts of one instance. So a proven test is a FAIL only if it is proven also

- with blocks of time as the unit (stats.blocks),
- without the endpoints that are bad while the challenger's others are not (rollout.instances), and
- for an absolute limit, that the challenger is worse than the champion at the same time (intersection-union: both null
  hypotheses must be rejected, so the level needs no correction). The limit alone is VOID: the cause is common.

Rule: a gate can only hold a FAIL back. It is computed only when the test itself is proven, so it costs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import log
from typing import NamedTuple

from crossfade.rollout.evidence import marked_counts, spent_marks, split_counts
from crossfade.rollout.faults import odds
from crossfade.rollout.instances import bad_endpoints, without_endpoints
from crossfade.rollout.keyed_evidence import with_keys_increase
from crossfade.rollout.strata import EventCounts, Stratum
from crossfade.rollout.verdict import percent
from crossfade.stats.blocks import (
    BLOCK,
    RUN,
    Blocks,
    BlockSums,
    Drift,
    log_e_blocks_restarted,
    of_difference,
    of_share,
)
from crossfade.stats.differences import log_e_increase
from crossfade.stats.restarts import log_e_worse_restarted
from crossfade.stats.sequential import SplitCounts, log_e_above_all, log_e_worse


class Gate(NamedTuple):
    """`log_e`: what the gate makes of the evidence; it is open from the bound of the check on. `closed`: why it is not.

    `common`: while it is closed, the evidence does not speak of the challenger (VOID).
    """

    log_e: float
    closed: str
    common: bool = False


def comparison_gates(strata: Sequence[Stratum], kind: str, margin: float, alpha: float) -> list[Gate]:
    """For "an event of this kind is at most `margin` more likely at the challenger". All strata have both sides."""
    others = _instance_gate(strata, kind, lambda counts: log_e_increase(counts, margin))
    return [*_block_gate(strata, kind, margin, alpha), *others]


def limit_gates(strata: Sequence[Stratum], kind: str, p0: float, alpha: float) -> list[Gate]:
    """For "at most p0 of the challenger's requests have such an event"."""
    counted = [s for s in strata if kind in s.events]
    compared = [s for s in counted if s.compares and s.events[kind].champion.n]
    others = _instance_gate(counted, kind, lambda counts: log_e_above_all(counts, p0))
    if compared:
        return [_worse_gate(compared, kind, alpha), *comparison_gates(compared, kind, 0.0, alpha), *others]
    gates = [*_block_gate(counted, kind, p0, alpha), *others]
    # The challenger has only copies, and the champion all of the traffic.
    beside = [s.events[kind] for s in counted if s.share == 0 and s.events[kind].champion.n]
    return [worse_than_all(beside), *gates] if beside else gates


def _instance_gate(
    strata: Sequence[Stratum], kind: str, log_e: Callable[[Sequence[SplitCounts]], float]
) -> list[Gate]:
    """The test from the start, with half of the wealth: what an endpoint had at the marks is not known."""
    bad = bad_endpoints(strata, kind)
    if not bad:
        return []
    found = log_e(without_endpoints(strata, kind, [each.endpoint for each in bad])) - log(2)
    which = "; ".join(f"of {each.name} {each}" for each in bad)
    return [Gate(found, f"it may be the instance, not the model: {which}; without it, {_so_far(found)}")]


def _worse_gate(strata: Sequence[Stratum], kind: str, alpha: float) -> Gate:
    counts, marks = split_counts(strata, kind), marked_counts(strata, kind)
    log_e = log_e_worse_restarted(counts, 1.0, marks, spent_marks(strata))
    return _common_cause(
        with_keys_increase(log_e, strata, kind, 0.0, alpha), [s.events[kind] for s in strata]
    )


def worse_than_all(sides: Sequence[EventCounts]) -> Gate:
    """A copy is one more request, so the challenger should have the events of its part of all requests and copies."""
    counts = [
        e.split_counts(e.challenger.n / (e.challenger.n + e.champion.n)) for e in sides if e.challenger.n
    ]
    return _common_cause(log_e_worse(counts, 1.0), sides)


def _common_cause(log_e: float, sides: Sequence[EventCounts]) -> Gate:
    x, n = sum(e.champion.all for e in sides), sum(e.champion.n for e in sides)
    text = (
        f"{x} of the champion's {n} requests ({percent(x / n)}) did too at the same time: a common cause, as long as "
        f"the challenger is not proven to be worse ({_so_far(log_e)})"
    )
    return Gate(log_e, text, True)


def _so_far(log_e: float) -> str:
    return f"{odds(log_e)} so far" if log_e > 0 else "no evidence"


class _Hypothesis(NamedTuple):
    """`limit`: of the difference where both sides have traffic, else of the share."""

    stratum: Stratum
    kind: str
    limit: float

    @property
    def blocks(self) -> Blocks:
        return self.stratum.blocks[self.kind]

    def drifting(self, sums: BlockSums) -> Drift:
        if self.stratum.compares:
            return of_difference(sums, self.stratum.share, self.limit)
        return of_share(sums, self.limit, RUN if self.stratum.share == 1 else 1)


def _block_gate(strata: Sequence[Stratum], kind: str, limit: float, alpha: float) -> list[Gate]:
    """None where the time of the requests is not known."""
    tested = [_Hypothesis(s, kind, limit) for s in strata if kind in s.blocks]
    if not tested:
        return []
    log_e = log_e_blocks_restarted([h.drifting(h.blocks.sums) for h in tested], _starts(tested), alpha)
    alone = f" and up to {RUN} of them as one event, as nobody is left to compare with" * (
        strata[-1].share == 1
    )
    bursts = (
        f"they came in bursts: with {BLOCK} seconds as one unit{alone}, {_so_far(log_e)}; "
        f"the same at more times would prove it"
    )
    return [Gate(log_e, bursts)]


def _starts(tested: Sequence[_Hypothesis]) -> Iterator[list[Drift]]:
    """For each mark, the blocks since it: of its own stratum, and of all later ones."""
    for i, own in enumerate(tested):
        later = [h.drifting(h.blocks.sums) for h in tested[i + 1 :]]
        now = own.blocks.sums
        for mark in own.stratum.marks:
            if own.kind in mark.blocks:
                yield [own.drifting(now.since(mark.blocks[own.kind])), *later]
