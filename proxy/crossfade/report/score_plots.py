"""Plots of scores: both histograms over each other, pairs, and quantiles against quantiles."""

from __future__ import annotations

from collections.abc import Sequence

from crossfade.quality.comparison_summary import ComparisonSummary
from crossfade.quality.score_summary import ScoresOfOne
from crossfade.report.markup import Markup
from crossfade.report.plot import Plot, Point, Scale, figure, legend, table
from crossfade.report.words import counted, number, percent, whole


def score_plots(found: ComparisonSummary) -> list[Markup]:
    scores = found.scores
    if not scores.champion.n or not scores.challenger.n:
        return []
    out = [_histograms(found)]
    if scores.points:
        out.append(_scatter(found))
    if scores.qq:
        out.append(_quantiles(found))
    return out


def _histograms(found: ComparisonSummary) -> Markup:
    ours, theirs = found.scores.champion, found.scores.challenger
    steps, others = _steps(ours), _steps(theirs)
    plot = Plot(
        Scale(steps[0][0], steps[-1][0]), Scale(0, 1.05 * max(y for _, y in (*steps, *others))), 1080, 320
    )
    plot.x_axis("score", about=10)
    plot.y_axis(percent)
    for points, kind in ((steps, "champion"), (others, "challenger")):
        plot.area([(points[0][0], 0.0), *points, (points[-1][0], 0.0)], f"fill {kind}")
        plot.line(points, f"line {kind}")
    if found.threshold is not None:
        plot.upright(found.threshold, "threshold", f"decision from {number(found.threshold)} on")
    rows = [
        [f"{number(low)} to {number(high)}", whole(n), whole(m)]
        for (low, high, n), (_, _, m) in zip(ours.histogram, theirs.histogram, strict=True)
    ]
    quantiles = [[q, number(ours.quantiles[q]), number(theirs.quantiles[q])] for q in ours.quantiles]
    return figure(
        "Scores of both models",
        [
            legend(
                ("champion", f"{found.champion}, champion"), ("challenger", f"{found.challenger}, challenger")
            ),
            plot.svg(
                "score-histograms",
                "Histograms of the scores of both models",
                f"Share of answers by score, of {counted(ours.n, 'answer')} of {found.champion} and "
                f"{counted(theirs.n, 'answer')} of {found.challenger}.",
            ),
        ],
        _distances(found),
        [
            table(("quantile", f"{found.champion}#", f"{found.challenger}#"), quantiles),
            table(("score", f"{found.champion}#", f"{found.challenger}#"), rows),
        ],
        "wide",
    )


def _steps(scores: ScoresOfOne) -> list[Point]:
    """The outline of a histogram, as shares."""
    out: list[Point] = []
    for low, high, n in scores.histogram:
        out += [(low, n / scores.n), (high, n / scores.n)]
    return out


def _distances(found: ComparisonSummary) -> str:
    scores = found.scores
    parts = ["Share of answers by score."]
    if scores.ks is not None:
        low, high = scores.ks.interval
        parts.append(
            f"The distributions differ by at most {number(scores.ks.estimate)} at any score "
            f"(Kolmogorov-Smirnov distance, 95% interval {number(low)} to {number(high)})."
        )
    if scores.psi is not None:
        parts.append(f"The population stability index is {number(scores.psi)}.")
    return " ".join(parts)


def _square(found: ComparisonSummary, values: Sequence[float]) -> Plot:
    low, high = min(values), max(values)
    scale = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    plot = Plot(Scale(*scale), Scale(*scale), 520, 420)
    plot.x_axis(f"score of {found.champion}")
    plot.y_axis(about=5)
    plot.line([(plot.x.low, plot.y.low), (plot.x.high, plot.y.high)], "diagonal")
    return plot


def _scatter(found: ComparisonSummary) -> Markup:
    points = found.scores.points
    plot = _square(found, [value for ours, theirs, _ in points for value in (ours, theirs)])
    if found.threshold is not None:
        plot.upright(found.threshold, "threshold", "decision")
        plot.level(found.threshold, "threshold")
    for ours, theirs, changed in sorted(points, key=lambda point: point[2]):
        plot.dot(ours, theirs, "point changed" if changed else "point", 3.2 if changed else 2.6)
    n = sum(changed for _, _, changed in points)
    caption = f"Score of {found.challenger} (upwards) by that of {found.champion}, for {counted(len(points), 'pair')} drawn by chance."
    if found.scores.correlation is not None:
        r = found.scores.correlation
        low, high = r.interval
        caption += f" Correlation {number(r.estimate)} (95% interval {number(low)} to {number(high)})."
    shown = sorted(points, key=lambda point: -abs(point[0] - point[1]))[:50]
    rows = [[number(ours), number(theirs), "yes" if changed else "no"] for ours, theirs, changed in shown]
    return figure(
        "Pairs of answers to one request",
        [
            legend(("same", "same decision"), ("different", "changed decision")),
            plot.svg(
                "score-pairs",
                "Scores of the challenger by those of the champion",
                f"{counted(len(points), 'pair')}, of which {whole(n)} changed the decision. Equal scores are on the diagonal.",
            ),
        ],
        caption,
        table(
            (f"{found.champion}#", f"{found.challenger}#", "changed"),
            rows,
            "The 50 pairs of these that differ most",
        ),
    )


def _quantiles(found: ComparisonSummary) -> Markup:
    qq = found.scores.qq
    plot = _square(found, [value for _, ours, theirs in qq for value in (ours, theirs)])
    plot.line([(ours, theirs) for _, ours, theirs in qq], "line challenger")
    for _, ours, theirs in qq:
        plot.dot(ours, theirs, "solid challenger", 2.6)
    rows = [[percent(share), number(ours), number(theirs)] for share, ours, theirs in qq]
    return figure(
        "Quantiles against quantiles",
        [
            legend(("challenger", "each 2% of the answers")),
            plot.svg(
                "score-quantiles",
                "Quantiles of the challenger's scores by those of the champion's",
                "On the diagonal both models score alike; above it the challenger scores higher.",
            ),
        ],
        f"Quantiles of the scores of {found.challenger} (upwards) by those of {found.champion}. On the diagonal both score alike.",
        table(("share below#", f"{found.champion}#", f"{found.challenger}#"), rows),
    )
