"""The plan of a rollout: what `strategy.expand` makes of the configuration, and what the journal keeps of it.

Rule: plain values only. The journal holds plans for ever, so a key of the YAML may be renamed without a change here. A new field
gets a default. A field that is renamed or removed needs a migration of old records (control/migrations.py).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from crossfade.rollout.machine import Step
from crossfade.scale import OF_LABELS
from crossfade.stats.streams import MEASURES, STREAM, STREAM_BROKEN

# Metrics of mirrored copies and pairs. Without copies in a step, those of the latest step before it that has any count.
OF_COPIES = frozenset({"disagreement", "distance", "segment_divergence", "shadow_latency", "shadow_errors"})


_WANTED = {
    "accuracy": "a number beside an answer of yes or no",
    "mae": "a number, of no more than 1e100",
}


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question asked of the evidence: a metric and one bound.

    `bound`: max, min, max_increase, min_increase, max_ratio or min_ratio; `limit`: its value. `title`: the name of the verdict, under which
    evidence is kept too. `name` and `query` are of KPIs and Prometheus queries. `needed` of the last `among` results of a
    query beyond the limit are a FAIL (1 of 1 up to format 4). `kind` and `range` are of KPIs: whether its numbers are events (0 or 1)
    or amounts, and the range into which an amount is moved. Metrics of labels have a `name` (of the label) and a `range` too. `missing`: the number of a prediction without feedback of this name.
    `then`: what proven drift does, of checks of drift.
    """

    metric: str
    bound: str
    limit: float
    title: str
    quantile: float | None = None
    name: str | None = None
    query: str | None = None
    needed: int = 1
    among: int = 1
    kind: Literal["event", "amount"] = "amount"
    range: tuple[float, float] | None = None
    missing: float | None = None
    then: Literal["", "hold", "abort"] = ""

    @property
    def is_exact(self) -> bool:
        """Whether a KPI has an exact test, for which its numbers must be events or have a range."""
        return self.kind == "event" or self.range is not None

    @property
    def asks_feedback(self) -> bool:
        """Whether ripe predictions are its evidence."""
        return self.metric == "kpi" or self.metric in OF_LABELS

    @property
    def label(self) -> str:
        """The name of the feedback that is the label."""
        return self.name or "label"

    @property
    def named(self) -> str:
        """What its numbers are called in reasons."""
        if self.metric == "kpi":
            return self.name or ""
        return f"{self.metric} of {self.name}" if self.name else self.metric

    @property
    def is_paired(self) -> bool:
        """Whether labels of mirrored pairs answer it too: numbers without bounds do not."""
        return self.metric in OF_LABELS and (self.metric != "mae" or self.range is not None)

    @property
    def lowest(self) -> float:
        return self.range[0] if self.range else 0.0

    @property
    def width(self) -> float:
        """Of the range of its numbers, 1 if none is given."""
        return self.range[1] - self.range[0] if self.range else 1.0

    @property
    def wanted(self) -> str:
        """Which labels it can use, in words."""
        return _WANTED.get(self.metric, "a label from 0 to 1")

    @property
    def is_live(self) -> bool:
        """Whether only live traffic of the challenger can answer it; mirrored copies cannot."""
        if self.metric in OF_COPIES or self.is_paired:
            return False
        return self.metric in ("kpi", "mae", "score_divergence") or self.bound not in ("max", "min")

    @property
    def is_least(self) -> bool:
        """Whether values below the limit are the bad ones."""
        return self.bound.startswith("min")

    @property
    def event(self) -> str:
        """The kind of event that a check of latency or of streams counts."""
        if self.metric == STREAM_BROKEN:
            return self.metric
        return f"{STREAM} {self.title}" if self.metric in MEASURES else self.title

    @property
    def subject(self) -> str:
        """What is measured: `p99 latency`, `kpi conversion`, `error_rate`."""
        if self.metric == "latency" and self.quantile is not None:
            return f"p{self.quantile * 100:.10g} latency"
        if self.quantile is not None:
            return f"p{self.quantile * 100:.10g} {self.metric}"
        if self.metric in OF_LABELS:
            return self.named
        if self.metric in ("kpi", "prometheus"):
            return f"{self.metric} {self.name or self.query}"
        return self.metric


class Fuse(msgspec.Struct, frozen=True):
    """The limits of the fuse: errors in a row, or a share of errors of the last requests."""

    consecutive_errors: int
    error_share: float
    of_last: int


class Goal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The one number by which a challenger is better than the champion, or not: that of the check with this title.

    `min_lift`: the least relative gain that is worth a change, 0.05 for 5 %; `lower`: less of the number is better. `min_effect`:
    the distance from `min_lift` that the planned number of requests can tell, relative too. `act`: the recommendation ends the rollout.
    """

    title: str
    min_lift: float = 0.0
    lower: bool = False
    min_effect: float | None = None
    act: bool = False

    @property
    def factor(self) -> float:
        """The challenger's mean divided by the champion's from which it is worth a change."""
        return 1 - self.min_lift if self.lower else 1 + self.min_lift


class Plan(msgspec.Struct, frozen=True):
    """What a rollout does, without open defaults. Times are seconds. The promote follows the last step.

    `holdback`: what the former champion keeps during the watch, out of 10 000. `primary`: what a recommendation goes by.
    """

    strategy: str
    champion: str
    challenger: str
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    fuse: Fuse | None
    max_step_time: float | None
    on_undecided: Literal["pause", "abort", "advance"]
    watch: float
    warm_up: float
    alpha: float
    advance_early: float | None = None
    holdback: int = 0
    primary: Goal | None = None
