"""Checks of drift: are inputs and scores of this step those of the profile?

H0: no share of any field (`quality.field_drift`) is more than `max` away from the profile's. The e-value is the mean over the
fields, of all that was seen in the step, so it is valid at every look. Inputs are the same for both backends, so a FAIL says
nothing of the challenger: by default it is VOID, and holds. `then: abort` makes it a FAIL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from crossfade.rollout.verdict import Finding, Verdict, percent
from crossfade.rollout.verdict_rule import TestResult, Wording, decide

if TYPE_CHECKING:
    from crossfade.rollout.plan import Check
    from crossfade.rollout.verdict_rule import CheckContext

DATA_DRIFT, SCORE_DRIFT = "data_drift", "score_drift"
OF_DRIFT = frozenset({DATA_DRIFT, SCORE_DRIFT})


class DriftReading(msgspec.Struct, frozen=True):
    """What was seen in the present step. `subject`: the field that is farthest away, by `distance`. `log_e`: of all fields.

    `trouble`: why nothing can be compared.
    """

    step: int
    n: int
    log_e: float = 0.0
    subject: str = ""
    distance: float = 0.0
    trouble: str = ""


def evaluate_drift(
    checks: Sequence[Check], readings: Mapping[str, DriftReading], context: CheckContext
) -> tuple[Finding, ...]:
    """A finding for each check, in order; `readings` by title of the check."""
    return tuple(_evaluate(check, readings.get(check.title), context) for check in checks)


def _evaluate(check: Check, reading: DriftReading | None, context: CheckContext) -> Finding:
    if reading is not None and reading.trouble:
        return Finding(check.title, Verdict.VOID, reading.trouble)
    if reading is None or reading.step != context.step:
        reading = DriftReading(context.step, 0)
    what = "scores" if check.metric == SCORE_DRIFT else f"values of {reading.subject}"
    text = (
        f"the shares of {reading.n} {what} differ by up to {percent(reading.distance)} from the profile; "
        f"the limit is {percent(check.limit)}"
    )
    within = reading.distance <= check.limit
    gain = max(reading.log_e, 0.0) / max(reading.n, 1)
    result = TestResult(reading.n, reading.log_e, gain, within)
    finding = decide(check, context, result, Wording(text, reading.n, reading.distance, None, explained=True))
    if finding.verdict is Verdict.FAIL and check.then == "hold":
        held = f"{finding.reason}; the requests are others than the profile's, and the rollout waits"
        return replace(finding, verdict=Verdict.VOID, reason=held)
    return finding
