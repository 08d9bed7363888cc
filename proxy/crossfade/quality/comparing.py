"""One request, asked of two models: what the answers say, compared.

Rule (law 17): a pair counts if the champion's answer says something. Where the challenger then says nothing (a rejection,
an error, an unreadable answer), it has changed the decision, and is as far away as can be. An answer that the proxy could not
keep or unpack changes nothing; it is lost, with the side that lost it. A second answer of the champion without a decision
counts as a disagreement of the champion with itself, in the challenger's favour.
One row of a batch, drawn by the request's id, stands for the request, since rows of one request depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec.structs import replace

from crossfade.quality.answer import Answer, Decision, Row, decision_of, score_of
from crossfade.quality.compared import Compared
from crossfade.quality.distance import NO_SPREAD, rows_distance
from crossfade.quality.fields import differing
from crossfade.quality.prediction import Prediction
from crossfade.quality.redaction import shown
from crossfade.quality.segments import segment_value
from crossfade.stats.bounded import toss_of
from crossfade.stats.distances import distance_level
from crossfade.stats.paired_latency import bucket_for
from crossfade.stats.pairs import Measured, Pair

LOST: Final = {
    "size": "pair_body_size",
    "encoding": "pair_encoding",
}  # by `Answer.unread`: no fault of the model
_DECIMALS: Final = 6  # of a distance, so that it adds up alike everywhere
_NOTHING: Final = Answer()


class Facts(msgspec.Struct, frozen=True):
    """What is known of a pair beside its answers; the fields are those of `Compared`.

    `spread`: by the name of an output, how far the champion's numbers spread in earlier answers (quality.spread).
    """

    request_id: str
    at: float = 0.0
    key: int | None = None
    live_seconds: float = 0.0
    copy_seconds: float | None = None
    second_seconds: float | None = None
    segments: tuple[str, ...] = ()
    spread: Mapping[str, float] = msgspec.field(default_factory=dict)
    copy_failed: bool = False


class NoPair(msgspec.Struct, frozen=True):
    """Why there is nothing to compare. `lost`: the answer of the challenger (True) or of the champion (False) was lost; None:
    the pair says nothing of either.
    """

    reason: str
    lost: bool | None = None


def drawn(request_id: bytes, n: int) -> int:
    """One of `n` by the hash of the request's id."""
    return int.from_bytes(blake2b(request_id, digest_size=8).digest()) % n


def row_of(rows: tuple[Row, ...], request_id: bytes) -> Row:
    return rows[drawn(request_id, len(rows))] if rows else ()


def compare(
    prediction: Prediction, facts: Facts, live: Answer, copy: Answer | None, second: Answer | None = None
) -> Compared | NoPair:
    """`copy` None: the challenger gave no answer. `second` None: the champion was not asked twice; where it was and gave
    none, an empty answer.
    """
    copy = copy or _NOTHING
    why = _why_not(live, copy)
    if why is not None:
        return why
    request_id, threshold = facts.request_id.encode(), prediction.decision
    place = drawn(request_id, len(live.rows))
    ours, theirs = live.rows[place], _row_at(copy.rows, place)
    decision, copied = decision_of(ours, threshold), decision_of(theirs, threshold)
    if decision is None and copied is not None:
        return NoPair("pair_decision", False)
    ignored = frozenset(map(".".join, prediction.ignore))
    yes_or_no = isinstance(decision, bool) and isinstance(copied, bool)
    noise_changed = noise_distance = None
    if second is not None:
        again = decision_of(_row_at(second.rows, place), threshold)
        noise_changed = None if decision is None else is_changed(decision, again)
        noise_distance = _distance(live, second, facts, ignored)
    return Compared(
        request_id=facts.request_id,
        at=facts.at,
        key=facts.key,
        changed=decision is not None and is_changed(decision, copied),
        raised=bool(copied) if yes_or_no else None,
        distance=_distance(live, copy, facts, ignored),
        missing=not theirs or (decision is not None and copied is None),
        noise_changed=noise_changed,
        noise_distance=noise_distance,
        champion_score=score_of(ours),
        challenger_score=score_of(theirs),
        champion_decision=segment_value(decision),
        challenger_decision=segment_value(copied),
        rows=len(live.rows),
        rows_changed=_rows_changed(live.rows, copy.rows, threshold),
        live_seconds=facts.live_seconds,
        copy_seconds=facts.copy_seconds,
        second_seconds=facts.second_seconds,
        segments=facts.segments,
        fields=_fields(live, copy, prediction),
        noise_fields=_fields(live, second, prediction),
        copy_failed=facts.copy_failed or bool(copy.error),
        decided=decision is not None,
    )


def with_texts(compared: Compared, prediction: Prediction, live: Answer, copy: Answer | None) -> Compared:
    """With both answers for people. Few pairs are shown, and their texts cost more than the comparison."""
    request_id = compared.request_id.encode()
    return replace(
        compared,
        champion=shown(live, prediction.redact, request_id),
        challenger=shown(copy or _NOTHING, prediction.redact, request_id),
    )


def _why_not(live: Answer, copy: Answer) -> NoPair | None:
    if live.unread == "status" or live.error:
        return NoPair("pair_status")
    here, there = live.unread in LOST, copy.unread in LOST
    if here or there:
        return NoPair(LOST[live.unread if here else copy.unread], None if here and there else there)
    if any(live.rows):
        return None
    return NoPair("pair_decision", False if any(copy.rows) else None)


def is_changed(decision: Decision, other: Decision | None) -> bool:
    """Python's True equals 1, and JSON's does not."""
    return isinstance(decision, bool) != isinstance(other, bool) or decision != other


def _row_at(rows: tuple[Row, ...], place: int) -> Row:
    return rows[place] if place < len(rows) else ()


def _distance(live: Answer, other: Answer, facts: Facts, ignored: frozenset[str]) -> float:
    return round(rows_distance(live.rows, other.rows, facts.spread or NO_SPREAD, ignored), _DECIMALS)


def _rows_changed(rows: tuple[Row, ...], others: tuple[Row, ...], threshold: float | None) -> int:
    decisions = [(decision_of(row, threshold), place) for place, row in enumerate(rows)]
    return sum(
        decision is not None and is_changed(decision, decision_of(_row_at(others, place), threshold))
        for decision, place in decisions
    )


def _fields(live: Answer, other: Answer | None, prediction: Prediction) -> tuple[str, ...]:
    if other is None or live.document is None or other.document is None:
        return ()
    return differing(live.document, other.document, prediction.ignore)


def pair_of(compared: Compared, chance: float, sources: Sequence[str] = ()) -> Pair:
    """What the tests count. `chance`: of asking the champion twice. `sources`: names of the sources of segments, in their order."""
    unit = int.from_bytes(blake2b(compared.request_id.encode(), digest_size=8).digest())
    noise = compared.noise_distance
    copy, second = compared.copy_seconds, compared.second_seconds
    measured = Measured(
        distance_level(compared.distance, toss_of(unit, 0)),
        None if noise is None else distance_level(noise, toss_of(unit, 1)),
        tuple(zip(sources, compared.segments, strict=False)),
        None if copy is None or second is None else (int(compared.at), bucket_for(copy), bucket_for(second)),
        compared.decided,
    )
    raised = compared.raised
    return Pair(
        compared.key,
        compared.changed,
        raised,
        chance,
        compared.noise_changed,
        compared.missing,
        None,
        measured,
    )


def lost_pair(why: NoPair, key: int | None) -> Pair | None:
    """None where nothing was lost: the pair is dropped."""
    return None if why.lost is None else Pair(key, False, None, 0.0, None, False, why.lost)
