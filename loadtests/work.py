"""The kinds of work of the benchmark, and the cores for the proxies and the load."""

from __future__ import annotations

import os
from dataclasses import dataclass

CUSTOMERS = 1000
HEADER = "X-Customer-Id"
_ROW = (
    b'{"customer_id":"c-000042","nb_transactions_30d":12,"total_amount_30d":483.2,'
    b'"days_since_last_transaction":3,"support_tickets_90d":1,"subscription_age_days":411,'
    b'"channel":"mobile","country":"NL"}'
)
EVENTS = 20
EVENT_GAP = 0.01  # seconds between the events of a stream


@dataclass(frozen=True, slots=True)
class Work:
    """`title` is for the tables; `rate` is the moderate rate in requests per second.

    The latency of a stream is the time to its first event. Streams are not measured at saturation: that would
    measure how the events of many streams coincide.
    """

    name: str
    title: str
    method: str
    path: str
    rate: int
    body: bytes = b""
    stream: bool = False


WORKS = (
    Work("json", f"POST of {len(_ROW)} B of JSON with a small JSON answer", "POST", "/predict", 2000, _ROW),
    Work("large", "GET with an answer of 100 kB", "GET", "/large", 500),
    Work(
        "sse",
        f"GET with an answer of {EVENTS} server-sent events, {EVENT_GAP * 1000:.0f} ms apart",
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
    """The cores for the proxies, and the cores for load and origins; empty: not pinned."""

    proxy: frozenset[int]
    load: frozenset[int]


def pick_cores(available: set[int] | None = None, proxy: int = 1) -> Cores:
    """`proxy` cores for the proxies and other cores for load and origins; none if there are too few."""
    cores = sorted(os.sched_getaffinity(0) if available is None else available)
    if len(cores) < proxy + 1:
        return Cores(frozenset(), frozenset())
    return Cores(frozenset(cores[:proxy]), frozenset(cores[proxy : 2 * proxy]))
