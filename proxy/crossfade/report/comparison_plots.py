"""Plots of a comparison: the excess over time and by segment, and latency side by side."""

from __future__ import annotations

from collections.abc import Sequence

from crossfade.quality.comparison_summary import ComparisonSummary, Durations, Moment, SegmentSummary
from crossfade.quality.pair_sums import Estimate
from crossfade.report.markup import Child, Markup, tag
from crossfade.report.plot import Plot, Point, Scale, figure, legend, since_start, table
from crossfade.report.words import counted, duration, number, percent, points, whole

SHOWN_SEGMENTS = 30
_ROW, _LABELS = 24.0, 270.0  # of the plot of segments


def excess_of(found: ComparisonSummary) -> Estimate | None:
    return found.decisions.excess if found.measure == "decision" else found.distance.excess


def measured(found: ComparisonSummary) -> str:
    return "changed decisions" if found.measure == "decision" else "distance of answers"


def in_units(found: ComparisonSummary, value: float) -> str:
    """A difference of shares in percent, of distances as a number."""
    return points(value) if found.measure == "decision" else f"{'+' if value > 0 else ''}{number(value)}"


def range_in_units(found: ComparisonSummary, interval: Sequence[float]) -> str:
    return f"{in_units(found, interval[0])} to {in_units(found, interval[1])}"


def over_time(found: ComparisonSummary) -> list[Markup]:
    known = [m for m in found.over_time if m.excess is not None and m.interval is not None]
    if len(known) < 2:
        return []
    start = found.first_pair or found.since
    plot = Plot(since_start(known[-1].at - start), _ground_of(found, known), 1080, 300)
    plot.x_axis("time since the first pair", lambda seconds: duration(seconds) if seconds else "0", 8)
    plot.y_axis(lambda value: in_units(found, value))
    upper = [(m.at - start, m.interval[1]) for m in known if m.interval is not None]
    lower = [(m.at - start, m.interval[0]) for m in known if m.interval is not None]
    plot.area([*upper, *reversed(lower)], "fill challenger")
    plot.level(0.0, "zero")
    if found.limit is not None:
        plot.level(found.limit, "limit", f"limit {in_units(found, found.limit)}")
    for moment in known:
        value = _seen(found, moment)
        if value is not None:
            plot.dot(moment.at - start, value, "solid soft", 2.2)
    plot.line([(m.at - start, m.excess) for m in known if m.excess is not None], "line challenger")
    rows = [[duration(m.at - start), whole(m.pairs), *_moment_cells(found, m)] for m in known]
    what = measured(found)
    return [
        figure(
            "Over time",
            [
                legend(
                    ("challenger", "excess so far, with its 95% interval"),
                    ("soft", f"{what} of each span of time, noise included"),
                ),
                plot.svg(
                    "over-time",
                    f"Excess of {what} over time",
                    "The interval narrows as pairs come; it holds at all times together.",
                ),
            ],
            f"{what[0].upper()}{what[1:]} beyond the noise of {found.champion}, of all pairs up to each time.",
            table(("until", "pairs#", f"{what} in it#", "excess so far#", "95% interval"), rows),
            "wide",
        )
    ]


def _seen(found: ComparisonSummary, moment: Moment) -> float | None:
    return moment.changed if found.measure == "decision" else moment.distance


def _moment_cells(found: ComparisonSummary, moment: Moment) -> list[str]:
    value = _seen(found, moment)
    return [
        "" if value is None else percent(value) if found.measure == "decision" else number(value),
        "" if moment.excess is None else in_units(found, moment.excess),
        "" if moment.interval is None else range_in_units(found, moment.interval),
    ]


def _ground_of(found: ComparisonSummary, known: Sequence[Moment]) -> Scale:
    """The first intervals are as wide as can be: the second half of the time decides how much is shown."""
    late = known[len(known) // 2 :]
    values = [0.0, found.limit or 0.0]
    values += [value for m in late for value in (*(m.interval or ()), _seen(found, m) or 0.0)]
    room = (max(values) - min(values)) * 0.15
    return Scale(min(values) - room, max(values) + room)


def segments(found: ComparisonSummary) -> list[Markup]:
    """A forest plot: the flagged ones first, then those with most pairs."""
    known = [
        segment for segment in found.segments if segment.excess is not None and segment.interval is not None
    ]
    if not known:
        return []
    shown = sorted(known, key=lambda segment: not segment.flagged)[:SHOWN_SEGMENTS]
    whole_excess = excess_of(found)
    lines = (
        [("all", found.pairs, whole_excess.estimate, whole_excess.interval, "all")] if whole_excess else []
    )
    lines += [
        (label_of(s), s.pairs, s.excess, s.interval, "bad" if s.flagged else "segment")
        for s in shown
        if s.excess is not None and s.interval is not None
    ]
    ends = [end for _, _, estimate, interval, _ in lines for end in (*interval, estimate)]
    wide = sorted(abs(end) for end in ends)[int(len(ends) * 0.8)]  # of few pairs an interval leaves the plot
    low, high = max(min(ends), -1.2 * wide, -1.0), min(max(ends), 1.2 * wide, 1.0)
    high = max(
        high, 1.2 * found.segment_limit, *(1.05 * end for *_, (_, end), kind in lines if kind != "segment")
    )
    plot = Plot(Scale(min(low, 0.0), high), Scale(0, 1), 1080, 60 + _ROW * len(lines), _LABELS)
    plot.x_axis(f"{measured(found)} beyond noise", lambda value: in_units(found, value), 7)
    plot.upright(0.0, "zero")
    if found.segment_limit:
        plot.upright(found.segment_limit, "limit")
    for i, line in enumerate(lines):
        _forest_row(plot, plot.top + _ROW * (i + 0.5), line)
    n = sum(segment.flagged for segment in found.segments)
    return [
        figure(
            "Segments",
            plot.svg(
                "segments",
                f"Excess of {measured(found)} by segment",
                f"{counted(n, 'segment')} of {len(found.segments)} flagged.",
            ),
            _about_segments(found, len(shown)),
            segment_table(found),
            "wide",
        )
    ]


def _forest_row(plot: Plot, y: float, line: tuple[str, int, float, tuple[float, float], str]) -> None:
    label, n, estimate, (low, high), kind = line
    text = label if len(label) <= 28 else f"{label[:27]}…"
    plot.label(plot.left - 62, y + 4, text, f"name {kind}", "end")
    plot.label(plot.left - 8, y + 4, whole(n), "tick", "end")
    plot.add(tag("line", x1=plot.across(low), x2=plot.across(high), y1=y, y2=y, class_=f"whisker {kind}"))
    size = 9.0 if kind == "all" else 7.0
    place = plot.across(estimate)
    plot.add(tag("rect", x=place - size / 2, y=y - size / 2, width=size, height=size, class_=f"box {kind}"))


def label_of(segment: SegmentSummary) -> str:
    return f"{segment.by} = {segment.value or '(unknown)'}"


def _about_segments(found: ComparisonSummary, shown: int) -> str:
    above = f"above {in_units(found, found.segment_limit)}" if found.segment_limit else "above zero"
    rest = (
        f" Shown are {shown} of {len(found.segments)}; the table has all."
        if shown < len(found.segments)
        else ""
    )
    return (
        f"Excess of {measured(found)} with 95% interval, and pairs of each segment. A segment is flagged where the excess is proven to be {above}; "
        f"of the flagged ones, at most 5% are expected to be so by chance.{rest}"
    )


def segment_table(found: ComparisonSummary) -> Markup:
    rows: list[list[Child]] = [
        [
            s.by,
            s.value or "(unknown)",
            whole(s.pairs),
            "" if s.changed is None else percent(s.changed),
            "" if s.distance is None else number(s.distance),
            "" if s.excess is None else in_units(found, s.excess),
            "" if s.interval is None else range_in_units(found, s.interval),
            tag("b", "flagged") if s.flagged else "",
        ]
        for s in found.segments
    ]
    return table(("by", "value", "pairs#", "changed#", "distance#", "excess#", "95% interval", ""), rows)


def latency(found: ComparisonSummary) -> list[Markup]:
    """The challenger's copies beside the champion's second answers, which are asked for under the same conditions."""
    again = found.latency.champion_again
    ours, label = (again, "asked again") if again.n else (found.latency.champion, "answers to clients")
    theirs = found.latency.challenger
    if not ours.n or not theirs.n:
        return []
    bins = [*ours.histogram, *theirs.histogram]
    outline, others = _outline(ours), _outline(theirs)
    x = Scale(min(low for low, _, _ in bins), max(high for _, high, _ in bins), logarithmic=True)
    plot = Plot(x, Scale(0, 1.05 * max(y for _, y in (*outline, *others))), 1080, 260)
    plot.x_axis("seconds until the end of the answer, logarithmic", duration)
    for line, kind in ((outline, "champion"), (others, "challenger")):
        plot.area([(line[0][0], 0.0), *line, (line[-1][0], 0.0)], f"fill {kind}")
        plot.line(line, f"line {kind}")
    return [
        figure(
            "Latency side by side",
            [
                legend(
                    ("champion", f"{found.champion}, {label}"), ("challenger", f"{found.challenger}, copies")
                ),
                plot.svg(
                    "latency",
                    "Histograms of the latency of both models",
                    "Density over a logarithmic axis of time.",
                ),
                latency_table(found),
            ],
            "Copies and second answers are sent behind the client's back under the same conditions, so these two can be compared."
            if again.n
            else f"{found.champion} was not asked twice: answers to clients are made under other conditions than copies.",
            class_="wide",
        )
    ]


def _outline(found: Durations) -> list[Point]:
    """As densities over the logarithm, since bins may have other widths on the other side."""
    out: list[Point] = []
    end = 0.0
    for low, high, n in found.histogram:
        if out and low > end * 1.001:
            out += [(end, 0.0), (low, 0.0)]
        share = n / found.n / (high / low - 1)
        out += [(low, share), (high, share)]
        end = high
    return out


def latency_table(found: ComparisonSummary) -> Markup:
    sides = [
        (f"{found.champion}, to clients", found.latency.champion),
        (f"{found.champion}, asked again", found.latency.champion_again),
        (f"{found.challenger}, copies", found.latency.challenger),
    ]
    names = list(found.latency.challenger.quantiles)
    rows = [[side, whole(d.n), *(duration(d.quantiles[q]) for q in names)] for side, d in sides if d.n]
    again, theirs = found.latency.champion_again.quantiles, found.latency.challenger.quantiles
    if again and theirs:
        rows.append(["ratio of the last two", "", *(f"{theirs[q] / again[q]:.2f}" for q in names)])
    return table(("", "answers#", *(f"{name}#" for name in names)), rows)
