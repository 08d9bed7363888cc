"""A sight as a decision keeps it, and back again: all that the verdicts and the move depend on, and no more.

Rule: what is left out changes no verdict. Codes, first bytes and the champion's distributions beyond their
size are never looked at; durations are where a check is of latency; of outcomes in order, as many as
the fuse and the guard look back on.
"""

from __future__ import annotations

from math import inf
from typing import Any

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel

from crossfade.rollout.evaluation import EvaluationInput
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.fuse import RecentOutcomes
from crossfade.rollout.guard import SICK_OF
from crossfade.stats.counts import Cell
from crossfade.stats.histogram import Histogram
from crossfade.stats.scores import Scores


def written(given: EvaluationInput) -> dict[str, Any]:
    """With keys that are strings all the way down, so that JSON gives back what it was given."""
    fuse = given.plan.fuse
    kept = max(SICK_OF, fuse.consecutive_errors if fuse else 0, fuse.of_last if fuse else 0)
    challenger = latest(given.challenger, kept)
    champion = other_phases(given.champion, challenger, kept)
    seen = replace(given, evidence=spare(given), challenger=challenger, champion=champion)
    out: dict[str, Any] = msgspec.to_builtins(seen, str_keys=True, enc_hook=plain)
    return out


def read(value: dict[str, Any]) -> EvaluationInput:
    """Raises msgspec.ValidationError for what was not written so."""
    return msgspec.convert(value, EvaluationInput, str_keys=True, dec_hook=model)


def plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_none=True)
    raise NotImplementedError(type(value))


def model(kind: type, value: Any) -> Any:
    """As it was: units have been read already, so this is no time to read them again."""
    if issubclass(kind, BaseModel):
        return kind.model_construct(**value)
    raise NotImplementedError(kind)


def spare(given: EvaluationInput) -> Evidence:
    """Earlier steps are kept only where they stand in for the present one, or count together with it."""
    evidence = given.evidence
    asked: set[str] = {check.metric for check in given.plan.checks}
    present = evidence.of_step(given.step)
    earlier = bool(asked & {"kpi", "disagreement"}) or not any(s.compares for s in present)
    strata = [
        replace(s, champion=spare_cell(s.champion, asked), challenger=spare_cell(s.challenger, asked))
        for s in (evidence.strata if earlier else present)
    ]
    return replace(
        evidence,
        strata=strata,
        firsts={},
        baseline=Histogram(count=evidence.baseline.count),
        predicted=Scores(count=evidence.predicted.count),
    )


def spare_cell(cell: Cell, asked: set[str]) -> Cell:
    return replace(
        cell,
        codes={},
        failures={},
        first_byte=Histogram(),
        recent=[],
        duration=cell.duration if "latency" in asked else Histogram(),
    )


def other_phases(champion: RecentOutcomes, challenger: RecentOutcomes, kept: int) -> RecentOutcomes:
    """The champion's last outcomes, and all of the time of the challenger's."""
    since = challenger.ticks[0][0] if challenger.ticks else inf
    same_time = RecentOutcomes([tick for tick in champion.ticks if tick[0] >= since])
    return max(latest(champion, kept), same_time, key=lambda recent: sum(len(o) for _, o in recent.ticks))


def latest(recent: RecentOutcomes, kept: int) -> RecentOutcomes:
    """The last outcomes, in the ticks that they came in."""
    out: list[tuple[float, list[bool]]] = []
    for at, outcomes in reversed(recent.ticks):
        if kept <= 0:
            break
        out.insert(0, (at, outcomes[-kept:]))
        kept -= len(outcomes)
    return RecentOutcomes(out)
