"""Checks of an external number: the results of a Prometheus query → a verdict.

Rule: numbers are compared with the limit without statistics. One result beyond the limit aborts nothing, since it may be
one bad scrape: `for: 3` needs three in a row, `of: 3/5` three of the last five, and without either it is two in a row.
Until then a result beyond the limit holds. A result that is not one number is VOID, with its description as the reason;
a result from before the step is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from crossfade.rollout.verdict import Finding, Verdict
from crossfade.scale import READINGS_KEPT

if TYPE_CHECKING:
    from crossfade.rollout.plan import Check


class Reading(msgspec.Struct, frozen=True):
    """`at`: served time of the query. `value`: None if the result is not one number; `trouble` then describes it.

    `earlier`: (served time, value) of the results before it that were numbers, the latest first.
    """

    at: float
    value: float | None
    trouble: str = ""
    earlier: tuple[tuple[float, float], ...] = ()


def following(before: Reading | None, reading: Reading) -> Reading:
    """The reading with those before it; `before`: the one that the caller has."""
    if before is None:
        return reading
    if (reading.at, reading.value, reading.trouble) == (before.at, before.value, before.trouble):
        return before
    earlier = before.earlier if before.value is None else ((before.at, before.value), *before.earlier)
    return replace(reading, earlier=earlier[: READINGS_KEPT - 1])


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
    limit = check.limit
    values = [reading.value, *(value for at, value in reading.earlier if at >= since)][: check.among]
    beyond = [value for value in values if (value > limit if check.bound == "max" else value < limit)]
    text = f"the query result is {reading.value:.6g}; the limit is {limit:.6g}"
    if len(beyond) >= check.needed:
        last = "in a row" if check.needed == check.among else f"of the last {len(values)}"
        shown = ", ".join(f"{value:.6g}" for value in reversed(beyond))
        text = f"{len(beyond)} query results {last} are beyond the limit of {limit:.6g}: {shown}"
        return Finding(check.title, Verdict.FAIL, text, estimate=reading.value)
    if reading.value in beyond:
        needs = (
            f"{check.needed} in a row" if check.needed == check.among else f"{check.needed} of {check.among}"
        )
        text += f"; {len(beyond)} so far, a FAIL needs {needs}"
        return Finding(check.title, Verdict.UNDECIDED, text, estimate=reading.value)
    return Finding(check.title, Verdict.PASS, text, estimate=reading.value)
