"""A start after a crash: the state of each route in the database, and what only the spool has.

Rule: the spool is read before exposure is published. So a challenger whose abort could not be written stays at 0.
"""

from __future__ import annotations

from msgspec.structs import replace

from crossfade.control.change import Cause, Change, draft_of, opened
from crossfade.control.journal import Journal
from crossfade.control.journal_entry import Entry
from crossfade.control.route_record import EvidenceBy, RouteRecord
from crossfade.rollout.evidence import Evidence

Held = dict[str, tuple[RouteRecord, EvidenceBy]]  # by route


def recover(journal: Journal) -> Held:
    """The journal takes over what it does not have yet."""
    held, entries = journal.store.records(), []
    for item in journal.unwritten():
        decision, record = item.decision, item.record
        evidence = {} if record is None else _evidence_after(record, held.get(record.name))
        entries.append(Entry(decision, record, evidence))
        if record is None:
            held.pop(decision.route, None)
        else:
            held[record.name] = record, evidence
    journal.recover(entries)
    return held


def _evidence_after(record: RouteRecord, before: tuple[RouteRecord, EvidenceBy] | None) -> EvidenceBy:
    """The spool holds no evidence: what the database has goes on, and a new ledger version has a stratum."""
    old, evidence = before or (None, {})
    out = {name: evidence.get(name) or Evidence(s.champion, name) for name, s in record.rollouts.items()}
    return opened(out, old, record)


RESTORE = (
    "restore"  # the action of a decision that says where a route stood when the journal before it was lost
)


def restored(records: list[tuple[RouteRecord, EvidenceBy]], cause: Cause) -> list[Entry]:
    """The whole state, for a journal that begins anew: a decision for each rollout, and for each route without one.

    A route that is not in the file stands nowhere, and comes back from there.
    """
    entries = []
    for record, evidence in records:
        if record.left_at is not None:
            away = cause._replace(reason=f"{cause.reason}; the route is not in the file")
            entries.append(Entry(draft_of(record.name, RESTORE, away, (None, None), {}), record, evidence))
            continue
        for challenger in record.rollouts or [""]:
            draft = draft_of(record.name, RESTORE, cause, (None, record), {}, challenger)
            entries.append(Entry(draft, record, evidence))
    return entries


def undone(change: Change) -> Entry:
    """Back to the state before a change that a slow disk took too late to be made."""
    before, draft = change.route.record, change.draft
    reason = f"not made: the disk took too long ({draft.reason})"
    cause = Cause(draft.actor, reason, draft.served, draft.config_hash, draft.at)
    back = draft_of(before.name, "undo", cause, (change.record, before), {}, change.challenger)
    return Entry(replace(back, backends=draft.backends), before, change.route.evidence)
