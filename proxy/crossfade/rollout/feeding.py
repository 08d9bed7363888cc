"""Ripe predictions into the evidence of a rollout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.kpi_evidence import Fed, KpiEvidence, Number
from crossfade.rollout.plan import Check
from crossfade.rollout.ripe import Portion, Ripe


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
            _feed_kpi(evidence, rows, check)
    return bool(rows)


def _feed_kpi(evidence: Evidence, rows: Sequence[Ripe], check: Check) -> None:
    first = evidence.since.get(check.title, 0)
    fed = []
    for row in rows:
        share = evidence.shares[row.version]
        value = row.feedback.get(check.name or "", check.missing)
        if value is not None and 0 < share < 1 and row.version >= first:
            number = Number(value, row.unit, row.keyed)
            fed.append(Fed(number, row.backend == evidence.challenger, share))
    if fed:
        evidence.kpis.setdefault(check.title, KpiEvidence()).add(check, fed)
