"""What ripe labels say of each backend: the fields are the contract of `GET /api/v1/labels/{route}`.

Rule: a number that is not known is null. All intervals hold at all looks together with 95 %, in the limit of many customers.
The AUC's, precision's and recall's intervals take requests as independent; the others take customers so.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crossfade.quality.label_counts import STEPS, LabelCounts, LabelKind, LabelQuestion, SideLabels
from crossfade.stats.auc import ByScore, auc_of
from crossfade.stats.unit_means import UnitSums, around, interval_of

BINS = 10  # of the reliability curve, of equal numbers of rows
_YES = "1"


class Measured(msgspec.Struct):
    """`n`: rows; `units`: customers, or requests without a key."""

    n: int
    units: int
    estimate: float
    interval: tuple[float, float] | None


class ReliabilityBin(msgspec.Struct):
    """`predicted`: the mean score; `observed`: the share of labels 1."""

    low: float
    high: float
    n: int
    predicted: float
    observed: float
    interval: tuple[float, float] | None


class ConfusionTable(msgspec.Struct):
    """`counts`: a row for each label, a column for each answer."""

    labels: list[str]
    counts: list[list[int]]


class BackendLabels(msgspec.Struct):
    """`calibration_error`: the mean distance of predicted and observed shares, weighted by rows."""

    ripe: int
    labelled: int
    coverage: Measured | None = None
    accuracy: Measured | None = None
    precision: Measured | None = None
    recall: Measured | None = None
    log_loss: Measured | None = None
    brier: Measured | None = None
    auc: Measured | None = None
    mae: Measured | None = None
    rmse: float | None = None
    bias: Measured | None = None
    calibration: list[ReliabilityBin] = []
    calibration_error: float | None = None
    confusion: ConfusionTable | None = None
    delay: list[tuple[float, float]] = []


class LabelSummary(msgspec.Struct):
    """`delay` of a backend: [age in seconds, share of predictions of that age that have a label]. `left_out`: rows beyond
    the newest million.
    """

    route: str
    name: str
    kind: LabelKind
    horizon: float
    threshold: float | None
    until: float
    first: float | None
    last: float | None
    left_out: int
    backends: dict[str, BackendLabels]
    kpis: dict[str, dict[str, Measured]]


def label_summary(route: str, asked: LabelQuestion, counts: LabelCounts) -> LabelSummary:
    backends = {name: _of_side(side, counts.kind) for name, side in counts.sides.items()}
    for name, delays in counts.delays.items():
        curve = [
            (k * asked.horizon / STEPS, found / n) for k, (n, found) in enumerate(delays.curve(), 1) if n
        ]
        backends.setdefault(name, BackendLabels(0, 0)).delay = curve
    kpis = {
        name: {backend: _mean(sums) for backend, sums in sides.items()} for name, sides in counts.kpis.items()
    }
    return LabelSummary(
        route,
        asked.name,
        counts.kind,
        asked.horizon,
        asked.threshold,
        asked.now,
        counts.first,
        counts.last,
        counts.left_out,
        dict(sorted(backends.items())),
        kpis,
    )


def _of_side(side: SideLabels, kind: LabelKind) -> BackendLabels:
    out = BackendLabels(side.ripe, side.labelled, _share(side.labelled, side.ripe))
    out.accuracy = _mean_if_any(side.correct, 0.0, 1.0)
    out.confusion = _confusion(side)
    if kind == "events":
        out.precision, out.recall = _precision_and_recall(side)
        out.log_loss = _mean_if_any(side.log_loss, 0.0)
        out.brier = _mean_if_any(side.brier, 0.0, 1.0)
        out.auc = _auc(side.by_score)
        out.calibration = _reliability(side.by_score)
        out.calibration_error = _calibration_error(out.calibration)
    elif kind == "numbers":
        out.mae = _mean_if_any(side.absolute, 0.0)
        out.rmse = side.squared.mean**0.5 if side.squared.n else None
        out.bias = _mean_if_any(side.error)
    return out


def _mean(sums: UnitSums, low: float | None = None, high: float | None = None) -> Measured:
    return Measured(sums.n, sums.units, sums.mean, interval_of(sums, low, high))


def _mean_if_any(sums: UnitSums, low: float | None = None, high: float | None = None) -> Measured | None:
    return _mean(sums, low, high) if sums.n else None


def _share(x: int, n: int) -> Measured | None:
    """Of independent rows. Half a row more on each side, so that 0 of n has an interval too."""
    if not n:
        return None
    smooth = (x + 0.5) / (n + 1)
    return Measured(n, n, x / n, around(x / n, smooth * (1 - smooth) / n, n, 0.0, 1.0))


def _auc(rows: Sequence[ByScore]) -> Measured | None:
    found = auc_of(rows)
    if found is None:
        return None
    interval = around(found.estimate, found.variance, found.n, 0.0, 1.0)
    return Measured(found.n, found.n, found.estimate, interval)


def _precision_and_recall(side: SideLabels) -> tuple[Measured | None, Measured | None]:
    """Of the decision yes: how many yes were right, and how many labels 1 were found."""
    counted = {(said, label): n for said, label, n in side.confusion}
    hits = counted.get((_YES, _YES), 0)
    yes = sum(n for (said, _), n in counted.items() if said == _YES)
    ones = sum(n for (_, label), n in counted.items() if label == _YES)
    return _share(hits, yes), _share(hits, ones)


def _confusion(side: SideLabels) -> ConfusionTable | None:
    if not side.confusion:
        return None
    labels = sorted({word for said, label, _ in side.confusion for word in (said, label)})
    counts = [[0] * len(labels) for _ in labels]
    for said, label, n in side.confusion:
        counts[labels.index(label)][labels.index(said)] = n
    return ConfusionTable(labels, counts)


def _reliability(rows: Sequence[ByScore]) -> list[ReliabilityBin]:
    """Bins of about equal numbers of rows; rows of one score are never parted."""
    total = sum(row.negatives + row.positives for row in rows)
    out: list[ReliabilityBin] = []
    group: list[ByScore] = []
    counted = 0
    for row in rows:
        group.append(row)
        counted += row.negatives + row.positives
        if counted * BINS >= total * (len(out) + 1):
            out.append(_bin(group))
            group = []
    return out


def _bin(rows: Sequence[ByScore]) -> ReliabilityBin:
    n = sum(row.negatives + row.positives for row in rows)
    positives = sum(row.positives for row in rows)
    scores = sum(row.score * (row.negatives + row.positives) for row in rows)
    observed = _share(positives, n)
    assert observed is not None
    return ReliabilityBin(rows[0].score, rows[-1].score, n, scores / n, positives / n, observed.interval)


def _calibration_error(bins: Sequence[ReliabilityBin]) -> float | None:
    n = sum(each.n for each in bins)
    return sum(each.n * abs(each.predicted - each.observed) for each in bins) / n if n else None
