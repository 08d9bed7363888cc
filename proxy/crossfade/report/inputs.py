"""What a report is made of: answers of the admin API, of which only the fields named here are read."""

from __future__ import annotations

from typing import Any

import msgspec

from crossfade.quality.comparison_summary import ComparisonSummary
from crossfade.quality.field_drift import FieldDrift
from crossfade.quality.label_summary import LabelSummary


class Numbers(msgspec.Struct):
    """Of one backend on the route: counts since the start of the proxy; shares and seconds of its last 10 s."""

    role: str
    requests: int
    errors: int
    fell_back: int
    rate: float
    error_share: float
    p50: float | None
    p99: float | None


class Route(msgspec.Struct):
    name: str
    split: dict[str, float]
    champion: str | None
    backends: dict[str, Numbers]


class Step(msgspec.Struct):
    weight: float
    hold: float
    approval: bool
    mirror: float


class Verdict(msgspec.Struct):
    """`evidence`: a log e-value; at `bound` the check fails."""

    check: str
    verdict: str
    reason: str
    n: int = 0
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    evidence: float | None = None
    bound: float | None = None
    in_words: str = ""


class Recommendation(msgspec.Struct):
    """`lift` and `interval`: relative gains; `p_value`: of no difference; `eta_seconds`: until a verdict."""

    recommendation: str
    primary: str
    min_lift: float
    reason: str
    lift: float | None
    interval: tuple[float | None, float | None] | None
    p_value: float | None
    eta_seconds: float | None


class Rollout(msgspec.Struct):
    strategy: str
    champion: str
    challenger: str
    phase: str
    step: int
    steps: list[Step]
    weight: float
    since: float
    waiting_for: str
    verdicts: list[Verdict]
    recommendation: Recommendation | None = None


class Decision(msgspec.Struct):
    """`to`: what it led to. `verdicts`: those that it was made by."""

    at: float
    action: str
    actor: str
    reason: str
    to: dict[str, Any] = {}
    verdicts: list[Verdict] = []


class DriftField(msgspec.Struct):
    """`drift`: of the latest full window; None: there is none yet. `alarm_at`: since when there is an alarm."""

    name: str
    type: str
    drift: FieldDrift | None = None
    alarm_at: float | None = None


class DriftProfile(msgspec.Struct):
    name: str


class DriftAlarm(msgspec.Struct):
    kind: str
    subject: str
    at: float
    detail: str


class Drift(msgspec.Struct):
    """`expected_run`: seconds from one false alarm to the next, at least, on average. `rows`: of the latest full window."""

    trouble: str
    profile: DriftProfile | None
    window: float
    tolerance: float
    expected_run: float
    rows: int
    fields: list[DriftField] = []
    scores: list[DriftField] = []
    alarms: list[DriftAlarm] = []


class Report(msgspec.Struct):
    """`decisions`: of this challenger, oldest first. `would_change`: what would lead to another decision. `labels`
    and `drift`: of the route, where it has feedback, or is watched.
    """

    version: str
    made_at: float
    route: Route
    comparison: ComparisonSummary | None = None
    rollout: Rollout | None = None
    would_change: list[str] = []
    decisions: list[Decision] = []
    labels: LabelSummary | None = None
    drift: Drift | None = None

    @property
    def champion(self) -> str:
        if self.comparison is not None:
            return self.comparison.champion
        return self.rollout.champion if self.rollout is not None else self.route.champion or ""

    @property
    def challenger(self) -> str:
        if self.comparison is not None:
            return self.comparison.challenger
        return self.rollout.challenger if self.rollout is not None else ""
