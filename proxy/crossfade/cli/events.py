"""`crossfade events`: the latest decisions, and with `--follow` what happens from then on, a line for each."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from datetime import datetime
from typing import Any

from crossfade.cli.client import AdminClient
from crossfade.cli.event_stream import Event, followed
from crossfade.cli.exits import OK, USAGE, CommandFailed
from crossfade.cli.output import print_text

MOST = 1000  # decisions in one answer of the admin API


def events(arguments: Namespace) -> int:
    """With --json, each line is an object whose `event` is decision or status."""
    if not 1 <= arguments.last <= MOST:
        raise CommandFailed(USAGE, f"--last {arguments.last}: must be from 1 to {MOST}")
    admin = AdminClient.of(arguments)
    if arguments.route:
        admin.get("routes", arguments.route)  # a name that does not exist has its own exit code
    newest = _newest(admin)
    query = {"route": arguments.route or None, "limit": str(arguments.last)}
    for decision in admin.get("decisions", query=query)["decisions"]:
        if decision["id"] <= newest:  # a later one comes with the stream
            _print(arguments, Event("decision", decision["id"], decision))
    if arguments.follow:
        sys.stdout.flush()
        for event in followed(admin, newest):
            if not arguments.route or event.data["route"] == arguments.route:
                _print(arguments, event)
                sys.stdout.flush()
    return OK


def _newest(admin: AdminClient) -> int:
    """Id of the newest decision; 0: there is none."""
    found = admin.get("decisions", query={"limit": "1"})["decisions"]
    return int(found[-1]["id"]) if found else 0


def _print(arguments: Namespace, event: Event) -> None:
    if arguments.json:
        print(json.dumps({"event": event.kind, **event.data}))
    else:
        print_text(line_of(event))


def line_of(event: Event) -> str:
    """On one line, without the date's zone: the time is that of who asks."""
    data = event.data
    if event.kind == "decision":
        what = f"#{data['id']} {_place(data)} {data['action']}{_after(data['to'])}, by {data['actor']}"
        reason = data["reason"]
    else:
        what, reason = f"{data['route'] or 'proxy'} {data['what']}", data["detail"]
    return f"{clock(data['at'])}  {what}{': ' if reason else ''}{' '.join(reason.split())}"


def _place(decision: dict[str, Any]) -> str:
    """The route with its challenger; of a drained endpoint, that."""
    to = decision["to"]
    if not decision["route"]:
        return " ".join(str(to[name]) for name in ("backend", "endpoint") if name in to) or "proxy"
    return f"{decision['route']} ({to['challenger']})" if to.get("challenger") else decision["route"]


def _after(to: dict[str, Any]) -> str:
    """What is so after the decision."""
    from crossfade.rollout.verdict import percent

    said = [to["phase"]] if "phase" in to else []
    if "split" in to:
        said.append(", ".join(f"{name} {percent(share)}" for name, share in to["split"].items() if share))
    return f" → {': '.join(said)}" if said else ""


def clock(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
