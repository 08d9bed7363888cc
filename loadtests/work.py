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


@dataclass(frozen=True, slots=True)
class Work:
    """`title` names it in the table."""

    name: str
    title: str
    method: str
    path: str
    body: bytes = b""


WORKS = (
    Work("json", f"POST of {len(ROW)} B of JSON, answered in kind", "POST", "/predict", ROW),
    Work("large", "GET answered with 100 kB", "GET", "/large"),
)


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the proxies, and the one of the load and the origins; empty: not pinned."""

    proxy: frozenset[int]
    load: frozenset[int]


def pick_cores(available: set[int] | None = None) -> Cores:
    """Two cores if there are two, so that a proxy is measured by itself."""
    cores = sorted(os.sched_getaffinity(0) if available is None else available)
    if len(cores) < 2:
        return Cores(frozenset(), frozenset())
    return Cores(frozenset(cores[:1]), frozenset(cores[1:2]))
