"""Checks of an external number: the result of a Prometheus query → a verdict.

Rule: the number is compared with the limit without statistics. A value beyond the limit is a FAIL at once, so the query
must smooth noise. A result that is not one number is VOID, with its description as the reason. A result from
before the step is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from crossfade.rollout.verdict import Finding, Verdict

if TYPE_CHECKING:
    from crossfade.rollout.plan import Check


class Reading(msgspec.Struct, frozen=True):
    """`at`: served time of the query. `value`: None if the result is not one number; `trouble` then describes it."""

    at: float
    value: float | None
    trouble: str = ""


def evaluate_external(
    checks: Sequence[Check], readings: Mapping[str, Reading], since: float
) -> tuple[Finding, ...]:
    """A finding for each check, in order; `readings` by query; `since`: served time at which the step began."""
    return tuple(_evaluate_reading(check, readings.get(check.query or ""), since) for check in checks)


def _evaluate_reading(check: Check, reading: Reading | None, since: float) -> Finding:
    if reading is None or reading.at < since:
        return Finding(check.title, Verdict.UNDECIDED, "the query has not been run in this step yet")
    if reading.value is None:
        return Finding(check.title, Verdict.VOID, f"the query result is not a number: {reading.trouble}")
    value, limit = reading.value, check.limit
    is_within = value <= limit if check.bound == "max" else value >= limit
    text = f"the query result is {value:.6g}; the limit is {limit:.6g}"
    return Finding(check.title, Verdict.PASS if is_within else Verdict.FAIL, text, estimate=value)
