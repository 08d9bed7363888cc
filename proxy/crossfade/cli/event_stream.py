"""The events of a running proxy (server-sent events), without a gap in the decisions.

Rule: a connection that ends is opened again, from the last decision that came. So a proxy that restarts ends nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from crossfade.cli.client import AdminClient
from crossfade.cli.exits import UNREACHABLE, CommandFailed
from crossfade.cli.output import print_text

WAITS = (0.5, 1.0, 2.0, 5.0)  # seconds before a connection is opened again; the last one from then on
_HEAD = {"Accept": "text/event-stream"}


class Event(NamedTuple):
    """`kind`: decision or status. `id`: of a decision."""

    kind: str
    id: int | None
    data: Any


def events_of(lines: Iterable[bytes]) -> Iterator[Event]:
    """The whole events of a stream. What its end has cut off is none. Raises ValueError for one that is no JSON."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            number = int(fields["id"]) if "id" in fields else None
            yield Event(fields.get("event", "message"), number, json.loads(fields["data"]))
            fields = {}
        elif line in (b"\n", b"\r\n"):
            fields = {}


def followed(admin: AdminClient, last: int) -> Iterator[Event]:
    """Every event after decision `last`, without end. Raises CommandFailed when the proxy refuses."""
    attempt = 0
    while True:
        try:
            for event in events_of(admin.lines("events", fields=_HEAD | {"Last-Event-ID": str(last)})):
                attempt = 0
                last = event.id or last
                yield event
            lost = "the proxy has closed the connection"
        except CommandFailed as failed:
            if failed.code != UNREACHABLE:
                raise
            lost = str(failed)
        wait = WAITS[min(attempt, len(WAITS) - 1)]
        attempt += 1
        print_text(f"{lost}; again in {wait:g} s", sys.stderr)
        time.sleep(wait)
