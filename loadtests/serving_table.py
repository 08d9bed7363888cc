"""The report of `python -m loadtests.serving` as Markdown tables."""

from __future__ import annotations

import msgspec

from loadtests.report import Machine, Result, Settings
from loadtests.serving_ways import QUESTIONS, VERSION, Question
from loadtests.tables import aligned, number

BEGIN, END = "<!-- serving:begin -->", "<!-- serving:end -->"
# A higher load average before the run means that other programs were running.
_QUIET = 0.7


class ServingReport(msgspec.Struct):
    """`date` in ISO 8601, UTC; `compiled`: the proxy's data plane; `results`: `work` is a question, `proxy` one of its ways."""

    date: str
    machine: Machine
    settings: Settings
    compiled: bool
    results: list[Result]


def render(report: ServingReport) -> str:
    machine, settings = report.machine, report.settings
    kind = "compiled" if report.compiled else "from the sources"
    lines = [
        f"{report.date[:10]}: {VERSION} on scikit-learn; the proxy {kind}, one worker; Python {machine.python}, Linux {machine.kernel},",
        f"{machine.cores} cores of {machine.cpu}. Medians of {settings.rounds} interleaved rounds of {settings.seconds} s; "
        f"{settings.connections} users of {settings.generator}, in one process of one core.",
    ]
    if machine.load > _QUIET:
        lines.append(
            f"**The machine was busy** (load average {machine.load:.1f} before the run): compare only rows of one table."
        )
    for question in QUESTIONS:
        found = [result for result in report.results if result.work == question.name]
        if found:
            lines += ["", f"**{question.title}**", "", *aligned(_rows(question, found))]
    return "\n".join(lines)


def _rows(question: Question, results: list[Result]) -> list[list[str]]:
    """`÷`: throughput and CPU divided by those of the first way under the same load."""
    rows = [
        [
            "",
            "load",
            "requests/s",
            "÷",
            "p50 ms",
            "p99 ms",
            "CPU µs/request",
            "÷",
            "cores busy",
            "cached",
            "failed",
        ]
    ]
    for result in results:
        base = next(each for each in results if each.load == result.load).median
        sample = result.median
        load = "all that it can" if result.load == "saturated" else f"{question.rate}/s"
        rows.append(
            [
                result.proxy,
                load,
                f"{sample.per_second:,.0f}",
                f"{sample.per_second / base.per_second:.2f}",
                f"{sample.p50_us / 1000:.1f}",
                f"{sample.p99_us / 1000:.1f}",
                number(sample.cpu_us, ",.0f"),
                f"{(sample.cpu_us or 0) / (base.cpu_us or 1):.2f}",
                number(sample.busy, ".2f"),
                f"{sample.cached:.0%}",
                str(sample.errors),
            ]
        )
    return rows
