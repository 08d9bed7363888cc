"""Observation: what one sampled answer said.

Workers send observations beside their counts. They are bounded for each route and report, and may be
dropped; every drop is counted. What must be complete is in the counts.
"""

from __future__ import annotations

import msgspec


class Observation(msgspec.Struct, frozen=True):
    """`request_id` joins it to other records of the same request."""

    request_id: str
    at: float  # seconds since the epoch, by the worker's clock
    route: str
    backend: str  # the one assigned
    answered_by: str  # the one whose answer this is
    ledger_version: int
    key: int | None  # the sticky key's hash
    score: float | None
    label: bool | int | float | str | None
    segment: tuple[str, ...] = ()  # in the order of `prediction.segment`
