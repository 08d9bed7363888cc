"""Checks of a number from outside: what a Prometheus server answered to a query → a verdict.

Rule: the number is taken at its word. Over the limit is a FAIL at once, so a query has to smooth what
jitters. Whatever is not one number is VOID and says what it is instead: it never passes, and blames
nobody. An answer from before the step says nothing of the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from crossfade.rollout.verdict import Finding, Verdict

if TYPE_CHECKING:
    from crossfade.rollout.plan import Check


class Reading(msgspec.Struct, frozen=True):
    """`at`: wall time of the query. `value`: None where there is not one number, and `trouble` says what there is."""

    at: float
    value: float | None
    trouble: str = ""


def evaluate_external(
    checks: Sequence[Check], readings: Mapping[str, Reading], since: float
) -> tuple[Finding, ...]:
    """A verdict for each check, in their order; `readings` by query, `since` when the step began."""
    return tuple(_evaluate_reading(check, readings.get(check.query or ""), since) for check in checks)


def _evaluate_reading(check: Check, reading: Reading | None, since: float) -> Finding:
    if reading is None or reading.at < since:
        return Finding(check.title, Verdict.UNDECIDED, "the server has not been asked in this step yet")
    if reading.value is None:
        return Finding(check.title, Verdict.VOID, f"the server's answer is no number: {reading.trouble}")
    value, limit = reading.value, check.limit
    kept = value <= limit if check.bound == "max" else value >= limit
    said = f"the server answers {value:.6g}; the limit is {limit:.6g}"
    return Finding(check.title, Verdict.PASS if kept else Verdict.FAIL, said, estimate=value)
