"""Reports to look at: of a shadow, of a canary without mirrors, and of a route where nothing is known yet."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec

from crossfade.quality.comparison_summary import ComparisonSummary, Subject
from crossfade.quality.field_drift import FieldDrift
from crossfade.quality.label_counts import STEPS, Delays, LabelCounts, LabelQuestion, SideLabels
from crossfade.quality.label_summary import label_summary
from crossfade.quality.summary import summary
from crossfade.report.inputs import (
    Decision,
    Drift,
    DriftAlarm,
    DriftField,
    DriftProfile,
    Numbers,
    Report,
    Rollout,
    Route,
    Step,
    Verdict,
)
from crossfade.stats.auc import ByScore
from crossfade.stats.unit_means import UnitSums
from tests.quality.worlds import BEGUN, World, table_of

NUMBERS = Numbers("champion", 24_000, 12, 0, 210.0, 0.0005, 0.021, 0.064)
VERDICTS = [
    Verdict(
        "error_rate max 1%",
        "PASS",
        "12 of 2 400 requests failed (0.5%), within 1%.",
        2400,
        0.005,
        (0.002, 0.009),
        -3.1,
        6.2,
    ),
    Verdict(
        "p99 latency max_ratio 1.25",
        "UNDECIDED",
        "slow in 1.4%, not proven to be above 1%.",
        2400,
        0.014,
        (0.009, 0.02),
        2.4,
        6.2,
    ),
    Verdict(
        "disagreement max 5%",
        "FAIL",
        "18% of decisions changed beyond noise, above 5%.",
        900,
        0.18,
        (0.15, 0.21),
        21.0,
        6.2,
    ),
    Verdict("kpi conversion", "VOID", "no feedback yet."),
]
SUBJECT = Subject(
    "churn", "v2", "v4", BEGUN, BEGUN + 5000, ("plan", "header x-country"), 0.5, 0.05, 0.05, None
)


def comparison_of(
    world: World, n: int = 2500, seed: int = 1, subject: Subject = SUBJECT, **dropped: int
) -> ComparisonSummary:
    table = table_of(world, n, seed)
    for reason, times in dropped.items():
        table.drop(reason, times)
    return summary(table, subject)


def rollout_of(
    phase: str = "progressing", strategy: str = "shadow", verdicts: list[Verdict] | None = None
) -> Rollout:
    steps = [Step(0.0, 86_400, False, 1.0), Step(0.05, 86_400, False, 0.0), Step(0.5, 172_800, True, 0.0)]
    given = VERDICTS if verdicts is None else verdicts
    return Rollout(strategy, "v2", "v4", phase, 1, steps, 0.05, BEGUN, "3h of the step's 24h", given)


def report_of(comparison: ComparisonSummary | None, rollout: Rollout | None, **more: Any) -> Report:
    shadow = msgspec.structs.replace(NUMBERS, role="shadow", requests=2500)
    route = Route("churn", {"v2": 0.95, "v4": 0.05}, "v2", {"v2": NUMBERS, "v4": shadow})
    decisions = [
        Decision(
            BEGUN, "begin", "config", "the rollout begins", {"phase": "progressing", "step": 0, "weight": 0.0}
        ),
        Decision(
            BEGUN + 3600,
            "advance",
            "controller",
            "all checks pass",
            {"phase": "progressing", "step": 1, "weight": 0.05},
            VERDICTS[:2],
        ),
    ]
    return Report(
        "1.0",
        BEGUN + 9000,
        route,
        comparison,
        rollout,
        ["the fuse: 10 errors in a row end it at once"],
        decisions,
        **more,
    )


def shadow() -> Report:
    """A challenger that is subtly wrong for one plan."""
    found = comparison_of(World(shift=0.15, jitter=0.01, errors=0.004), 4000, observer=12, pair_status=7)
    return report_of(found, rollout_of(verdicts=VERDICTS[:2]))


def canary() -> Report:
    """A route without mirrors."""
    return report_of(None, rollout_of(strategy="canary"))


def nothing() -> Report:
    return Report("1.0", BEGUN, Route("churn", {"v2": 1.0}, "v2", {"v2": NUMBERS}))


def labelled(n: int = 4000, seed: int = 7) -> Report:
    """A canary with labels: v2 is calibrated, v4 says half of it."""
    draw = random.Random(seed)
    sides = {name: side_of(draw, n, factor) for name, factor in (("v2", 1.0), ("v4", 0.5))}
    delays = {name: Delays([(STEPS, delay, 100) for delay in range(STEPS)]) for name in sides}
    kpis = {"revenue": {name: sums_of([draw.expovariate(0.1) for _ in range(500)]) for name in sides}}
    counts = LabelCounts("events", sides, delays, kpis, BEGUN, BEGUN + 5000)
    asked = LabelQuestion("label", 0.5, 604_800.0, BEGUN + 9000)
    found = label_summary("churn", asked, counts)
    return report_of(None, rollout_of(strategy="canary"), labels=found)


def everything() -> Report:
    return msgspec.structs.replace(shadow(), labels=labelled().labels, drift=drift())


def drift() -> Drift:
    """One field has an alarm, one is a little away, one has no values."""
    far = FieldDrift(800, 9.5, 0.31, 0.0, 0.0, 0.0, 0.0, 0.42, 0.02, 310.0)
    near = FieldDrift(800, -2.0, 0.02, 0.1, 0.02, 0.0, 0.0, chi_square_p=0.4, unseen={"<b>": 3})
    fields = [
        DriftField("amount", "number", far, BEGUN),
        DriftField("plan", "category", near),
        DriftField("age", "number"),
    ]
    alarm = DriftAlarm("data_drift", "amount", BEGUN, "31% of the values are beyond the profile's median")
    return Drift(
        "",
        DriftProfile("churn v2"),
        3600.0,
        0.05,
        2_592_000.0,
        800,
        fields,
        [DriftField("v2", "number", near)],
        [alarm],
    )


def side_of(draw: random.Random, n: int, factor: float) -> SideLabels:
    rows = [(score := round(draw.random(), 2), int(draw.random() < score)) for _ in range(n)]
    said = [(int(score * factor >= 0.5), score * factor, label) for score, label in rows]
    by_score: dict[float, list[int]] = {}
    for _, score, label in said:
        by_score.setdefault(score, [0, 0])[label] += 1
    confusion = Counter((str(guess), str(label)) for guess, _, label in said)
    return SideLabels(
        n,
        n,
        sums_of([float(guess == label) for guess, _, label in said]),
        sums_of([(score - label) ** 2 for _, score, label in said]),
        by_score=[ByScore(score, *by_score[score]) for score in sorted(by_score)],
        confusion=[(*pair, times) for pair, times in sorted(confusion.items())],
    )


def sums_of(values: list[float]) -> UnitSums:
    n = len(values)
    return UnitSums(n, n, sum(values), sum(v * v for v in values), sum(values), n)
