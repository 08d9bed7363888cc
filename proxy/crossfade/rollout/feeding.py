"""Ripe predictions into the evidence of a rollout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crossfade.rollout.coverage import COVERED
from crossfade.rollout.differences import Differences
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.judged import YES, number_of
from crossfade.rollout.kpi_evidence import Fed, KpiEvidence, Number
from crossfade.rollout.plan import Check
from crossfade.rollout.ripe import Portion, Ripe, Said
from crossfade.scale import OF_LABELS


def feed(evidence: Evidence, portion: Portion, checks: Iterable[Check]) -> bool:
    """Add what the evidence has not had yet. Whether it is others than before.

    A portion that begins behind what the evidence has had was read for another attempt, so it is left out.
    """
    if portion.after > evidence.fed_to or portion.upto <= evidence.fed_to:
        return False
    names = (evidence.champion, evidence.challenger)
    rows = [
        row
        for row in portion.rows
        if row.seq > evidence.fed_to and row.backend in names and row.version in evidence.shares
    ]
    evidence.fed_to = portion.upto
    # By version, as the order in which exchanges of one version ended may depend on their sides.
    rows.sort(key=lambda row: row.version)
    for check in checks:
        if check.asks_feedback:
            first = evidence.since.get(check.title, 0)
            _feed_check(evidence, [row for row in rows if row.version >= first], check)
    return bool(rows)


def _feed_check(evidence: Evidence, rows: Sequence[Ripe], check: Check) -> None:
    live = [row for row in rows if 0 < evidence.shares[row.version] < 1]
    if live:
        _feed_live(evidence, live, check)
    if check.is_paired:
        copied = [row for row in rows if evidence.shares[row.version] == 0]
        _feed_pairs(evidence, copied, check)


def _feed_live(evidence: Evidence, rows: Sequence[Ripe], check: Check) -> None:
    """Numbers of both sides, and which predictions gave one."""
    values = [(row, _value(check, row)) for row in rows]
    if check.missing is None:
        covered = [_fed(evidence, row, float(value is not None)) for row, value in values]
        evidence.coverage.setdefault(check.title, KpiEvidence()).add(COVERED, covered)
    numbers = [(row, value) for row, value in values if value is not None]
    if not numbers:
        return
    if check.metric == "auc":
        found = evidence.ranked.setdefault(check.title, Differences())
        for row, label in numbers:
            _rank(found, row, label, row.backend == evidence.challenger)
    else:
        fed = [_fed(evidence, row, value) for row, value in numbers]
        evidence.kpis.setdefault(check.title, KpiEvidence()).add(check, fed)


def _fed(evidence: Evidence, row: Ripe, value: float | str) -> Fed:
    here, share = row.backend == evidence.challenger, evidence.shares[row.version]
    return Fed(Number(value, row.unit, row.keyed), here, share)


def _value(check: Check, row: Ripe) -> float | str | None:
    """What the check counts of this prediction; None if there is nothing."""
    label = row.feedback.get(check.label)
    if check.metric not in OF_LABELS:
        return check.missing if label is None else label
    return None if label is None else number_of(check, row.said, label)


def _rank(found: Differences, row: Ripe, label: float | str, here: bool) -> None:
    if isinstance(label, str):
        found.unusable = label
    elif row.said is not None and row.said.score is not None and found.is_first(row.unit, row.keyed):
        found.rank(row.said.score, label >= YES, here, row.unit)


def _feed_pairs(evidence: Evidence, rows: Sequence[Ripe], check: Check) -> None:
    """Mirrored requests whose label is known, and of which both answers can be judged."""
    found = evidence.label_pairs.setdefault(check.title, Differences())
    for row in rows:
        copy, label = row.copies.get(evidence.challenger), row.feedback.get(check.label)
        if row.backend != evidence.champion or copy is None or label is None:
            continue
        here, rest = number_of(check, copy, label), number_of(check, row.said, label)
        if here is None or rest is None:
            continue
        if isinstance(here, str) or isinstance(rest, str):
            found.unusable = str(here)
        elif found.is_first(row.unit, row.keyed):
            _add_pair(found, check, (copy, row.said), (here, rest), row.unit)


def _add_pair(
    found: Differences,
    check: Check,
    said: tuple[Said, Said | None],
    numbers: tuple[float, float],
    unit: int,
) -> None:
    """`said` and `numbers`: of the challenger and the champion."""
    if check.metric != "auc":
        here, rest = (
            (min(max(n, check.lowest), check.lowest + check.width) - check.lowest) / check.width
            for n in numbers
        )
        found.add(here, rest, unit)
        return
    copy, champion = said
    if champion is not None and copy.score is not None and champion.score is not None:
        found.rank_pair(copy.score, champion.score, numbers[0] >= YES, unit)
