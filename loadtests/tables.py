"""Renders a report as Markdown tables that are also aligned in a terminal."""

from __future__ import annotations

from loadtests.report import Comparison, Report, Result, Sample
from loadtests.work import EVENTS, WORKS, Work

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
# Below this share of busy time, the load generator or the origins were the limit, not the proxy.
_SATURATED = 0.9
# A higher load average before the run means that other programs were running.
_QUIET = 0.7
_REFERENCE = "nginx"
DIRECT = "direct"
_FIGURES = {"cpu_us": "CPU µs/request", "per_second": "requests/s", "p99_us": "p99 µs"}


def render(report: Report) -> str:
    machine, settings = report.machine, report.settings
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    where = "the proxy on one core, load and origins on another" if machine.pinned else "not pinned to cores"
    lines = [
        f"{report.date[:10]}: {versions}; Python {machine.python}, Linux {machine.kernel},",
        f"{machine.cores} cores of {machine.cpu}; {where}.",
        f"Medians of {settings.rounds} interleaved rounds, {settings.seconds} s for each phase; saturating load by "
        f"{settings.generator} with {settings.connections} connections.",
    ]
    if machine.load > _QUIET:
        lines.append(
            f"**The machine was busy** (load average {machine.load:.1f} before the run): the numbers are not comparable."
        )
    if report.absent:
        lines.append(
            f"Not measured (not on the PATH, not installed with this Python): {', '.join(report.absent)}."
        )
    for work in WORKS:
        saturated, paced = (
            {r.proxy: r.median for r in report.results if (r.work, r.load) == (work.name, load)}
            for load in ("saturated", "paced")
        )
        if saturated:
            lines += ["", f"**{work.title}: saturated**", "", *aligned(_saturated_rows(saturated))]
        if paced:
            lines += [
                "",
                f"**{work.title}: {work.rate:,} requests per second**",
                "",
                *aligned(_paced_rows(work, paced)),
            ]
    if report.idle_mib:
        lines += ["", "**Memory (PSS), MiB**", "", *aligned(_memory_rows(report))]
    if report.comparisons:
        lines += [
            "",
            "**Crossfade compared with itself**",
            "",
            *aligned(_comparison_rows(report.comparisons)),
        ]
        lines += [f"\n{c.name}: {c.remark}." for c in report.comparisons if c.remark]
    return "\n".join(lines)


def _saturated_rows(found: dict[str, Sample]) -> list[list[str]]:
    reference = found.get(_REFERENCE)
    header = ["proxy", "CPU µs/request", "÷ nginx", "requests/s", "÷ nginx", "p50 µs", "p99 µs", "core busy"]
    rows = [[*header, "failed"]]
    for proxy, sample in found.items():
        at_least = "" if (sample.busy or 0) >= _SATURATED else "≥ "
        rows.append(
            [
                proxy,
                number(sample.cpu_us, ".1f"),
                ratio(sample.cpu_us, reference.cpu_us if reference else None),
                f"{at_least}{sample.per_second:,.0f}",
                ratio(sample.per_second, reference.per_second if reference else None),
                f"{sample.p50_us:,.0f}",
                f"{sample.p99_us:,.0f}",
                number(sample.busy, ".0%"),
                str(sample.errors),
            ]
        )
    return rows


def _paced_rows(work: Work, found: dict[str, Sample]) -> list[list[str]]:
    direct, reference = found.get(DIRECT), found.get(_REFERENCE)
    measured = "first event " if work.stream else ""
    header = ["proxy", f"{measured}p50 µs", "added", "p99 µs", "added", "CPU µs/request", "÷ nginx"]
    rows = [[*header, *(["CPU µs/event"] if work.stream else []), "failed"]]
    for proxy, sample in found.items():
        base = None if proxy == DIRECT else direct
        event = None if sample.cpu_us is None else sample.cpu_us / EVENTS
        rows.append(
            [
                proxy,
                f"{sample.p50_us:,.0f}",
                number(sample.p50_us - base.p50_us if base else None, "+,.0f"),
                f"{sample.p99_us:,.0f}",
                number(sample.p99_us - base.p99_us if base else None, "+,.0f"),
                number(sample.cpu_us, ",.1f"),
                ratio(sample.cpu_us, reference.cpu_us if reference else None),
                *([number(event, ".1f")] if work.stream else []),
                str(sample.errors),
            ]
        )
    return rows


def _memory_rows(report: Report) -> list[list[str]]:
    """Memory when idle, and halfway through each load."""
    loads = list(dict.fromkeys((r.work, r.load) for r in report.results))
    rows = [["proxy", "idle", *(f"{work}, {load}" for work, load in loads)]]
    for proxy, idle in report.idle_mib.items():
        by_load: dict[tuple[str, str], Result]
        by_load = {(r.work, r.load): r for r in report.results if r.proxy == proxy}
        cells = [number(by_load[load].median.memory_mib, ".0f") if load in by_load else "–" for load in loads]
        rows.append([proxy, f"{idle:.0f}", *cells])
    return rows


def _comparison_rows(comparisons: list[Comparison]) -> list[list[str]]:
    rows = [["compared", "figure", "base", "changed", "ratio", "goal", ""]]
    for c in comparisons:
        goal = f"{'≤' if c.at_most else '≥'} {c.goal:.2f}"
        values = [f"{c.value(result):,.1f}" for result in (c.base, c.changed)]
        names = f"{c.changed.proxy} ÷ {c.base.proxy}"
        rows.append(
            [names, _FIGURES[c.figure], *values, f"{c.ratio:.2f}", goal, "reached" if c.held else "missed"]
        )
    return rows


def number(value: float | None, spec: str) -> str:
    return "–" if value is None else format(value, spec)


def ratio(value: float | None, reference: float | None) -> str:
    return "–" if value is None or not reference else f"{value / reference:.2f}"


def aligned(rows: list[list[str]]) -> list[str]:
    """A Markdown table: the first column is aligned left, the others right."""
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*rows, strict=True)]
    first, *rest = widths
    rule = [":" + "-" * (first - 1), *("-" * (width - 1) + ":" for width in rest)]
    lines = [
        [cells[0].ljust(first), *(cell.rjust(width) for cell, width in zip(cells[1:], rest, strict=True))]
        for cells in [rows[0], rule, *rows[1:]]
    ]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def with_table(text: str, rendered: str, begin: str = BEGIN, end: str = END) -> str:
    """The text with the part between the marks replaced. Raises ValueError if a mark is missing."""
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the text lacks {begin} or {end}")
    return f"{before}{begin}\n{rendered}\n{end}{after}"
