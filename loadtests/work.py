"""The work that every proxy of the benchmark does, and the cores on which it is done."""

from __future__ import annotations

import os
from dataclasses import dataclass

CUSTOMERS = 1000
HEADER = "X-Customer-Id"
ROW = (
    b'{"customer_id":"c-000042","nb_transactions_30d":12,"total_amount_30d":483.2,'
    b'"days_since_last_transaction":3,"support_tickets_90d":1,"subscription_age_days":411,'
    b'"channel":"mobile","country":"NL"}'
)
EVENTS = 20
EVENT_GAP = 0.01  # seconds between the events of a stream


@dataclass(frozen=True, slots=True)
class Work:
    """`title` names it in the tables; `rate` is the moderate one, in requests per second.

    A stream's time is that to its first event, and it is not put on at saturation: that would measure
    how the events fall together.
    """

    name: str
    title: str
    method: str
    path: str
    rate: int
    body: bytes = b""
    stream: bool = False


WORKS = (
    Work("json", f"POST of {len(ROW)} B of JSON, answered in kind", "POST", "/predict", 2000, ROW),
    Work("large", "GET answered with 100 kB", "GET", "/large", 500),
    Work(
        "sse",
        f"GET answered with {EVENTS} server-sent events, {EVENT_GAP * 1000:.0f} ms apart",
        "GET",
        "/events",
        250,
        stream=True,
    ),
)


def work_named(name: str) -> Work:
    return next(work for work in WORKS if work.name == name)


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of the proxies, and those of the load and the origins; empty: not pinned."""

    proxy: frozenset[int]
    load: frozenset[int]


def pick_cores(available: set[int] | None = None, proxy: int = 1) -> Cores:
    """So many for the proxies and one more at least, if there are so many, so that a proxy is measured by itself."""
    cores = sorted(os.sched_getaffinity(0) if available is None else available)
    if len(cores) < proxy + 1:
        return Cores(frozenset(), frozenset())
    return Cores(frozenset(cores[:proxy]), frozenset(cores[proxy : 2 * proxy]))
