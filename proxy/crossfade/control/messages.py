"""What is told to people, from decisions and changes of status: pure, so each kind of message is a row of a table.

Rule: a message about a decision has the decision's id in it, so that made twice it is the same one. Its texts are bounded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crossfade.control.change import LOOP
from crossfade.control.kept_messages import Message, Severity
from crossfade.control.views import Decision, StatusChange
from crossfade.rollout.machine import Event

MAX_DETAIL = 2_000  # characters; the journal has all
MAX_FACTS = 4_000  # bytes as JSON

# By occasion. `good` changes of status are `info` whatever it is.
_SEVERITIES: dict[str, Severity] = {
    "abort": "error",
    "rollback": "error",
    "no_way_back": "error",
    "state": "error",
    "undecided": "warning",
    "approval": "warning",
    "pause": "warning",
    "drift": "warning",
    "mirror": "warning",
    "config": "error",
    "clock": "warning",
    "endpoints": "warning",
}
_OF_STATUS = {"store": "state"}  # where the two words differ
_FACTS = ("challenger", "phase", "step", "weight", "split", "attempt", "order")
_ENDS_OF_ORDERS = ("retrained", "retrain_failed", "retrain_withdrawn")
_PLAIN = frozenset(
    {"begin", "advance", "resume", "promote", "abort", "rollback", "retry", "restart", "no_way_back"}
    | {"split", "retrain", "gate"}
)
TEST = "test"  # the occasion of a message that an operator sends to see whether it arrives


def event_of(decision: Decision) -> str | None:
    """The occasion that a decision is; None if nobody is told of such."""
    action, cause = decision.action, decision.evidence.get("event")
    if action == "pause" and cause in (Event.PASS, Event.STEP_TIMEOUT):
        return "approval"
    if action == Event.APPROVAL_TIMEOUT or (action == "pause" and decision.actor == LOOP):
        return "undecided"
    if action in _ENDS_OF_ORDERS:
        return "retrain"
    return action if action in _PLAIN or action == "pause" else None


def message_of(decision: Decision) -> Message | None:
    event = event_of(decision)
    if event is None or not decision.route:
        return None
    severity = _SEVERITIES.get(event, "info")
    if decision.action == "retrain_failed":
        severity = "error"
    elif decision.actor != LOOP and event in ("abort", "rollback", "pause"):
        severity = "info"  # somebody wanted it
    challenger = decision.to.get("challenger")
    return Message(
        id=decision.hash[:32],
        event=event,
        route=decision.route,
        at=decision.at,
        severity=severity,
        title=f"{decision.route}: {_action(event, decision)}{f' of {challenger}' if challenger else ''}",
        detail=decision.reason[:MAX_DETAIL],
        facts=_facts_of(decision),
        decision=decision.id,
    )


def _action(event: str, decision: Decision) -> str:
    words = {"undecided": "undecided", "approval": "an approval is wanted", "no_way_back": "no way back"}
    return words.get(event, decision.action.replace("_", " "))


def _facts_of(decision: Decision) -> dict[str, Any]:
    facts = {
        "action": decision.action,
        "actor": decision.actor,
        "from": {key: decision.from_[key] for key in _FACTS if key in decision.from_},
        "to": {key: decision.to[key] for key in _FACTS if key in decision.to},
        "ledger_version": decision.ledger_version,
    }
    if len(msgspec.json.encode(facts)) > MAX_FACTS:  # a split of very many backends
        facts |= {"from": {}, "to": {}}
    return facts


def message_of_change(change: StatusChange, number: str) -> Message | None:
    """`number`: makes its id. None for what nobody is told of: a configuration that was loaded."""
    event = _OF_STATUS.get(change.what, change.what)
    if event == "config" and change.ok:
        return None
    subject = change.route or "crossfade"
    return Message(
        id=number,
        event=event,
        route=change.route or "",
        at=change.at,
        severity="info" if change.ok else _SEVERITIES.get(event, "info"),
        title=f"{subject}: {_TITLES.get((event, change.ok), event)}",
        detail=change.detail[:MAX_DETAIL],
        facts={"resolved": True} if change.ok and event in ("state", "endpoints") else {},
    )


_TITLES = {
    ("state", False): "the state cannot be written, so no exposure rises",
    ("state", True): "the state can be written again",
    ("config", False): "the configuration was not loaded",
    ("mirror", False): "a mirror is silent",
    ("clock", False): "time has passed that does not count",
    ("endpoints", True): "endpoints are up again",
    ("endpoints", False): "endpoints are down",
}


def message_of_test(number: str, at: float, route: str, who: str) -> Message:
    return Message(
        number, TEST, route, at, "info", f"{route or 'crossfade'}: a test", f"{who} asks whether this arrives"
    )
