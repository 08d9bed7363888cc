"""The inputs of a decision as the journal keeps them: all that the verdicts and the move depend on, and no more.

Rule: what is left out changes no verdict. Left out are status codes, first-byte times, the champion's distributions (their counts stay),
durations where no check is of latency, and outcomes in order beyond those that the fuse and the guard look back on. Keys of
outcomes are numbers 1, 2, 3 … instead of their hashes.
Reading ignores unknown fields and gives missing ones their defaults. Records of earlier formats are migrated first (control/migrations.py).
"""

from __future__ import annotations

from math import inf
from typing import Any

import msgspec
from msgspec.structs import replace

from crossfade.rollout.copies import SHADOW_LATENCY
from crossfade.rollout.evaluation import EvaluationInput
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.fuse import Reached
from crossfade.rollout.guard import CHAMPION_OUTCOMES
from crossfade.rollout.plan import OF_COPIES
from crossfade.rollout.recent import RecentOutcomes, Row, Tick, units_of
from crossfade.stats.counts import Cell, is_bad, key_of
from crossfade.stats.distances import Distances
from crossfade.stats.histogram import Histogram
from crossfade.stats.paired_latency import PairedLatency
from crossfade.stats.pairs import Pairs
from crossfade.stats.scores import Scores
from crossfade.stats.streams import MEASURES


def encode_inputs(given: EvaluationInput) -> dict[str, Any]:
    """Every key is a string, as in JSON, so that decoding gives equal values."""
    fuse = given.plan.fuse
    kept = max(CHAMPION_OUTCOMES, fuse.consecutive_errors if fuse else 0, fuse.of_last if fuse else 0)
    challenger = _latest(given.challenger.last(kept))
    champion = _champion_outcomes(given.champion, challenger, kept)
    needed = replace(
        given,
        evidence=_needed_evidence(given),
        challenger=_numbered(challenger),
        champion=_numbered(champion),
        reached=given.reached and _needed_reached(given.reached),
    )
    out: dict[str, Any] = msgspec.to_builtins(needed, str_keys=True)
    return out


def decode_inputs(value: dict[str, Any]) -> EvaluationInput:
    """Raises msgspec.ValidationError for anything that is not inputs of the current format."""
    return msgspec.convert(value, EvaluationInput, str_keys=True)


def _needed_evidence(given: EvaluationInput) -> Evidence:
    """Earlier steps are kept only where a check falls back on them or counts them together with the present step."""
    evidence = given.evidence
    metrics = {check.metric for check in given.plan.checks}
    present = evidence.of_step(given.step)
    earlier = bool(metrics & OF_COPIES) or not any(s.compares for s in present)
    strata = [
        replace(s, champion=_needed_cell(s.champion, metrics), challenger=_needed_cell(s.challenger, metrics))
        for s in (evidence.strata if earlier else present)
    ]
    return replace(
        evidence,
        strata=strata,
        firsts={},
        pending=[],
        panels={},
        baseline=Histogram(count=evidence.baseline.count),
        again=replace(evidence.again, durations=Histogram(count=evidence.again.durations.count)),
        predicted=Scores(count=evidence.predicted.count),
        kpis={title: found.sums() for title, found in evidence.kpis.items()},
        coverage={title: found.sums() for title, found in evidence.coverage.items()},
        ranked={title: found.sums() for title, found in evidence.ranked.items()},
        label_pairs={title: found.sums() for title, found in evidence.label_pairs.items()},
        shares={},
        fed_to=0,
    )


def _needed_cell(cell: Cell, metrics: set[str]) -> Cell:
    return replace(
        cell,
        codes={},
        failures={},
        first_byte=Histogram(),
        recent=[],
        duration=cell.duration if "latency" in metrics else Histogram(),
        streams=cell.streams if metrics & {*MEASURES} else None,
        pairs=_needed_pairs(cell.pairs, metrics),
    )


def _needed_pairs(pairs: Pairs, metrics: set[str]) -> Pairs:
    return replace(
        pairs,
        distances=pairs.distances if "distance" in metrics else Distances(),
        segments=pairs.segments if "segment_divergence" in metrics else {},
        latency=pairs.latency if SHADOW_LATENCY in metrics else PairedLatency(),
    )


def _champion_outcomes(champion: RecentOutcomes, challenger: RecentOutcomes, kept: int) -> RecentOutcomes:
    """The champion's last outcomes, or all since the challenger's first kept one, whichever are more."""
    since = challenger.ticks[0].at if challenger.ticks else inf
    same_time = RecentOutcomes([tick for tick in champion.ticks if tick.at >= since])
    return max(
        _latest(champion.last(kept)), same_time, key=lambda recent: sum(len(t.outcomes) for t in recent.ticks)
    )


def _latest(row: Row) -> RecentOutcomes:
    """The outcomes in which the row was found, in their ticks."""
    out: list[Tick] = []
    left = row.requests
    for tick in row.ticks:
        out.insert(0, replace(tick, outcomes=tick.outcomes[-left:]))
        left -= len(tick.outcomes)
    return RecentOutcomes(out)


def _numbered(recent: RecentOutcomes) -> RecentOutcomes:
    """With a number in place of each key's hash: a record says whose outcomes belong together, and is shorter."""
    numbers: dict[int, int] = {0: 0}
    return RecentOutcomes(
        [
            replace(
                tick,
                outcomes=[
                    2 * numbers.setdefault(key_of(one), len(numbers)) + is_bad(one) for one in tick.outcomes
                ],
            )
            for tick in recent.ticks
        ]
    )


def _needed_reached(reached: Reached) -> Reached:
    """Each unit once, so that keys are not needed any more."""
    ended, routed = ([int(is_bad(one)) for one in units_of(part)] for part in (reached.ended, reached.routed))
    return replace(reached, ended=ended, routed=routed)
