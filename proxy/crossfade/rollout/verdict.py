"""The answer to a check, and the words it is given in.

Rule: a verdict always carries its numbers, and its reason is one sentence with the value observed,
what it is compared with, and the threshold.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """VOID: the evidence itself is not valid for this question, so nobody is blamed and nothing advances."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"
    VOID = "VOID"


class Finding(msgspec.Struct, frozen=True):
    """`n`: the challenger's requests looked at; `evidence` a log e-value that FAILs at `bound`.

    `interval` is for display (95 %, at one look). `eta_requests`: requests on the challenger until a
    verdict, at the present rates. `proof`: a log e-value too, that the limit is kept (for `advance_early`).
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


def percent(share: float) -> str:
    """A share as one reads it: `0.52%`, `12.3%`."""
    return f"{share * 100:.3g}%"


def duration(seconds: float) -> str:
    """Seconds in the unit one would choose: `182ms`, `4.5s`, `3m 20s`, `2h 5m`, `1d 4h`."""
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
