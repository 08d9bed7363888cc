"""The verdict of a check, with its reason and numbers.

Rule: a finding always has its numbers, and its reason is one sentence with the observed value, the value
that it is compared with, and the limit.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

MIN_CHAMPION_ERRORS = 2  # bad outcomes of the champion from which it can show a common cause


# What a reason says of a rollout that goes on, and what it says once that has ended. The first of several comes first.
_ONCE_ENDED = tuple(
    (re.compile(rf"{going_on}\b"), ended)
    for going_on, ended in (
        (" more requests are needed", " more requests were needed when it ended"),
        (" are needed", " were needed"),
        (" more requests will tell", " more requests would have told"),
        (" and the rollout waits", " and the rollout waited"),
        (" have not been answered yet", " had not been answered when it ended"),
        (" have been answered yet", " were answered until it ended"),
        (" has not been run in this step yet", " was not run in its last step"),
        (" the champion has", " the champion had"),
        (" yet", " until it ended"),
    )
)


class Verdict(StrEnum):
    """VOID: the evidence is not valid for this check, so it neither counts against the challenger nor lets it advance."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"
    VOID = "VOID"


class Finding(msgspec.Struct, frozen=True):
    """A verdict with reason and numbers. `n`: requests of the challenger; `evidence`: log e-value, a FAIL at `bound`.

    `interval`: of the estimate, for display (95 %, at one look). `eta_requests`: requests on the challenger until a
    verdict, at the present rates. `proof`: log e-value that the limit is kept (for `advance_early`).
    """

    check: str
    verdict: Verdict
    reason: str
    n: int = 0
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    evidence: float | None = None
    bound: float | None = None
    eta_requests: int | None = None
    proof: float | None = None


def once_ended(reason: str) -> str:
    """The reason of a check of a rollout that has ended: nothing is needed any more, and nothing comes later."""
    for going_on, ended in _ONCE_ENDED:
        reason = going_on.sub(ended, reason)
    return reason


def percent(share: float) -> str:
    """A share in percent with three digits: `0.52%`, `12.3%`."""
    return f"{share * 100:.3g}%"


def duration(seconds: float) -> str:
    """Seconds in readable units: `182ms`, `4.5s`, `3m 20s`, `2h 5m`, `1d 4h`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g}ms"
    if seconds < 60:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    for name, size, part, unit in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // unit
            return f"{whole // size}{name} {rest}{part}" if rest else f"{whole // size}{name}"
    raise AssertionError(seconds)
