"""`crossfade report`: what is known of a challenger, as one HTML page or as JSON, from answers of the admin API."""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from crossfade.cli.client import AdminClient
from crossfade.cli.exits import INVALID, OK, UNKNOWN_NAME, CommandFailed
from crossfade.cli.output import write_text

Value = dict[str, Any]


def report(arguments: Namespace) -> int:
    admin = AdminClient.of(arguments)
    facts = facts_of(admin, arguments.route, arguments.challenger)
    text = json.dumps(facts, indent=2) + "\n" if arguments.json else _html(facts)
    write_text(text, arguments.output)
    return OK


def facts_of(admin: AdminClient, route: str, challenger: str | None) -> Value:
    """The fields of `report.inputs.Report`. Raises CommandFailed; also where the route has several challengers and none is named."""
    facts: Value = {"version": admin.get("status")["version"], "route": admin.get("routes", route)}
    named = challenger or _only_challenger(admin, route)
    query = {"challenger": named}
    rollout = _optional(admin, "rollouts", route, query=query)
    comparison = _optional(admin, "comparisons", route, query=query)
    if challenger and rollout is None and comparison is None:
        raise CommandFailed(
            UNKNOWN_NAME,
            f"route {route} has no rollout of {challenger}, and no pairs of its answers",
            f"`crossfade report {route}` reports on what there is.",
        )
    why = admin.get("rollouts", route, "why", query=query) if rollout else {"would_change": []}
    named = named or (comparison or rollout or {}).get("challenger")
    return facts | {
        "made_at": datetime.now(UTC).timestamp(),
        "comparison": comparison,
        "labels": _optional(admin, "labels", route, query={}),
        "drift": _optional(admin, "drift", route, query={}),
        "rollout": rollout,
        "would_change": why["would_change"],
        "decisions": _decisions(admin, route, named),
    }


def _only_challenger(admin: AdminClient, route: str) -> str | None:
    """Of the route's rollout, if it has one only."""
    names = [r["challenger"] for r in admin.get("rollouts")["rollouts"] if r["route"] == route]
    return names[0] if len(names) == 1 else None


def _optional(admin: AdminClient, *path: str, query: dict[str, str | None]) -> Any:
    try:
        return admin.get(*path, query=query)
    except CommandFailed as failed:
        if failed.code == UNKNOWN_NAME:
            return None
        raise


def _decisions(admin: AdminClient, route: str, challenger: str | None) -> list[Value]:
    """Those of the latest attempt of this challenger, and those of the route that are about none."""
    found = admin.get("decisions", query={"route": route})["decisions"]
    found = [d for d in found if d["to"].get("challenger") in (None, challenger)]
    attempt = max((d["to"]["attempt"] for d in found if "attempt" in d["to"]), default=0)
    return [
        {
            **{key: d[key] for key in ("id", "at", "action", "actor", "reason", "to")},
            "verdicts": d["evidence"].get("verdicts", []),
        }
        for d in found
        if d["to"].get("attempt", attempt) == attempt
    ]


def _html(facts: Value) -> str:
    import msgspec

    from crossfade.report.inputs import Report
    from crossfade.report.page import page

    try:
        given = msgspec.convert(facts, Report)
    except msgspec.ValidationError as error:
        raise CommandFailed(
            INVALID,
            f"the admin API is of another version: {error}",
            "Use the command of the proxy's version.",
        ) from None
    return page(given, when)


def when(at: float) -> str:
    """In the time zone of who asks."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M %Z")
