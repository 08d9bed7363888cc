"""What became known later: labels and KPIs by backend, with intervals; calibration; how long labels take."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crossfade.quality.label_summary import ConfusionTable, LabelSummary, Measured
from crossfade.report.inputs import Report
from crossfade.report.markup import Child, Markup, tag
from crossfade.report.plot import Plot, Scale, figure, legend, table
from crossfade.report.words import counted, duration, number, percent, whole

_Words = Callable[[float], str]
# (field, title, words)
_MEASURES: Sequence[tuple[str, str, _Words]] = (
    ("coverage", "labelled", percent),
    ("accuracy", "accuracy", percent),
    ("precision", "precision", percent),
    ("recall", "recall", percent),
    ("auc", "AUC", number),
    ("log_loss", "log loss", number),
    ("brier", "Brier score", number),
    ("mae", "mean absolute error", number),
    ("bias", "bias", number),
)


def of_labels(report: Report) -> list[Markup]:
    found = report.labels
    if found is None or not found.backends:
        return []
    out = [_measures(found, report)]
    if found.kpis:
        out.append(_kpis(found, report))
    if any(side.calibration for side in found.backends.values()):
        out.append(_calibration(found, report))
    if any(side.delay for side in found.backends.values()):
        out.append(_delays(found, report))
    out += [
        _confusion(name, side.confusion)
        for name, side in found.backends.items()
        if side.confusion is not None
    ]
    return out


def class_of(report: Report, name: str, backends: Sequence[str]) -> str:
    """The colour of a backend in plots."""
    if name == report.champion:
        return "champion"
    return "challenger" if name == report.challenger else f"path{2 + sorted(backends).index(name) % 4}"


def _legend(found: LabelSummary, report: Report, names: Sequence[str]) -> Markup:
    return legend(*((class_of(report, name, list(found.backends)), name) for name in names))


def _said(measured: Measured | None, words: _Words) -> Child:
    if measured is None:
        return ""
    if measured.interval is None:
        return words(measured.estimate)
    low, high = measured.interval
    return [words(measured.estimate), tag("br"), tag("small", f"{words(low)} to {words(high)}")]


def _measures(found: LabelSummary, report: Report) -> Markup:
    shown = [
        measure
        for measure in _MEASURES
        if any(getattr(side, measure[0]) is not None for side in found.backends.values())
    ]
    rows: list[list[Child]] = [
        [
            [tag("i", class_=f"swatch {class_of(report, name, list(found.backends))}"), name],
            whole(side.ripe),
            *(_said(getattr(side, field), words) for field, _, words in shown),
        ]
        for name, side in found.backends.items()
    ]
    columns = ("backend", "predictions#", *(f"{title}#" for _, title, _ in shown))
    about = (
        f"Of predictions that are {duration(found.horizon)} old, by the label `{found.name}` that they had by then. "
        "All backends are judged at the same age of their labels. Below each number is its 95% interval, where there are enough labels."
    )
    if found.left_out:
        about += f" The newest million predictions are counted; {whole(found.left_out)} older ones are not."
    return figure("Labels", tag("div", table(columns, rows), class_="scroll"), about, class_="wide")


def _kpis(found: LabelSummary, report: Report) -> Markup:
    rows: list[list[Child]] = [
        [
            kpi,
            [tag("i", class_=f"swatch {class_of(report, name, list(sides))}"), name],
            whole(measured.n),
            whole(measured.units),
            _said(measured, number),
        ]
        for kpi, sides in found.kpis.items()
        for name, measured in sorted(sides.items())
    ]
    columns = ("KPI", "backend", "numbers#", "customers#", "mean#")
    about = (
        "Means of the numbers from feedback. Weights may have changed meanwhile, and then means of backends cannot be compared with each other: "
        "the rollout's checks compare at equal weights."
    )
    return figure("KPIs", tag("div", table(columns, rows), class_="scroll"), about)


def _calibration(found: LabelSummary, report: Report) -> Markup:
    names = [name for name, side in found.backends.items() if side.calibration]
    plot = Plot(Scale(0.0, 1.0), Scale(0.0, 1.0), 520, 420)
    plot.x_axis("mean score", percent)
    plot.y_axis(percent, about=5)
    plot.line([(0.0, 0.0), (1.0, 1.0)], "diagonal")
    rows: list[list[Child]] = []
    for name in names:
        bins, kind = found.backends[name].calibration, class_of(report, name, list(found.backends))
        for each in bins:
            if each.interval is not None:
                plot.line(
                    [(each.predicted, each.interval[0]), (each.predicted, each.interval[1])], f"line {kind}"
                )
            plot.dot(each.predicted, each.observed, f"solid {kind}", 4)
            rows.append(
                [
                    name,
                    f"{number(each.low)} to {number(each.high)}",
                    whole(each.n),
                    percent(each.predicted),
                    percent(each.observed),
                ]
            )
    errors = [
        f"{name} {number(error)}"
        for name in names
        if (error := found.backends[name].calibration_error) is not None
    ]
    return figure(
        "Calibration",
        [
            _legend(found, report, names),
            plot.svg(
                "calibration",
                "Observed share of labels 1 by mean score",
                f"{counted(len(names), 'backend')}, in bins of about equal numbers of predictions. On the diagonal a score is the share that came true.",
            ),
        ],
        f"The share of labels 1 (upwards) by the mean score of a bin, with its 95% interval. On the diagonal scores are right. Mean distance from it: {', '.join(errors)}.",
        table(("backend", "score", "n#", "mean score#", "share of labels 1#"), rows),
    )


def _delays(found: LabelSummary, report: Report) -> Markup:
    names = [name for name, side in found.backends.items() if side.delay]
    highest = max((share for name in names for _, share in found.backends[name].delay), default=1.0)
    plot = Plot(Scale(0.0, found.horizon), Scale(0.0, max(highest * 1.05, 0.05)))
    plot.x_axis("age of the prediction", duration)
    plot.y_axis(percent)
    rows: list[list[Child]] = []
    for name in names:
        curve = found.backends[name].delay
        plot.line([(0.0, 0.0), *curve], f"line {class_of(report, name, list(found.backends))}")
        rows += [[name, duration(age), percent(share)] for age, share in curve]
    return figure(
        "How long labels take",
        [
            _legend(found, report, names),
            plot.svg(
                "label-delay",
                "Share of predictions that have a label, by their age",
                f"{counted(len(names), 'backend')}, up to the horizon of {duration(found.horizon)}.",
            ),
        ],
        "Of the predictions that are at least so old, the share that had a label at that age. Where backends differ, their labels are no fair sample.",
        table(("backend", "age#", "labelled#"), rows),
    )


def _confusion(name: str, found: ConfusionTable) -> Markup:
    rows: list[list[Child]] = [
        [label, *(whole(n) for n in counts)] for label, counts in zip(found.labels, found.counts, strict=True)
    ]
    columns = ("label", *(f"{label}#" for label in found.labels))
    return figure(
        f"Labels and answers of {name}",
        tag("div", table(columns, rows), class_="scroll"),
        "A row for each label, a column for each answer.",
    )
