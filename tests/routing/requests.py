"""Requests, routes and snapshots with defaults, for the tests of this package."""

from __future__ import annotations

from crossfade.http1.request_head import RequestHead, parse_request
from crossfade.routing.ledger import BUCKETS, Ledger, new_ledger, salt_of
from crossfade.routing.snapshot import Match, Route, Snapshot, Sticky


def request(
    target: str = "/predict", *fields: str, method: str = "POST", host: str = "model.test"
) -> RequestHead:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    return parse_request("".join(line + "\r\n" for line in [*lines, ""]).encode())


def route(
    name: str, match: Match | None = None, sticky: tuple[Sticky, ...] = (), ledger: Ledger | None = None
) -> Route:
    ledger = ledger or new_ledger({"churn-v2": BUCKETS}, salt_of(name))
    return Route(
        name=name,
        match=match or Match(),
        sticky=sticky,
        ledger=ledger,
        roles=tuple("member" for _ in ledger.backends),
        salt=salt_of(name),
        fallback=None,
        mirrors=(),
        retry_attempts=1,
        retry_budget=0.2,
        pure=False,
        body_limit=None,
        inspect_limit=65_536,
        upgrades=(),
    )


def snapshot(*routes: Route) -> Snapshot:
    return Snapshot(
        generation=1,
        backends={},
        routes=routes,
        head_bytes=32_768,
        head_count=100,
        connections=100,
        head_timeout=10.0,
        keep_alive=75.0,
    )
