"""The pictures of docs/verdicts.md: requests are drawn with fixed seeds, and judged by the proxy's own checks.

A step with a weight of 10 % and 100 requests a second, without keys; the champion fails 1 % of its requests. The check is
`error_rate` with `max_increase: 0.5%` and an alpha of 0.2 %.

`python -m tests.docs.evidence_paths` prints how many requests it takes to find faults of several sizes (docs/capacity.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import erfc, exp, log, sqrt
from typing import NamedTuple

import numpy as np

from crossfade.config.model import CheckConfig
from crossfade.report.markup import Markup, tag, text_of
from crossfade.report.plot import Plot, Scale
from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence, gather
from crossfade.rollout.strategy import check_of
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.stats.counts import Cell

ALPHA, WEIGHT, USUAL, MARGIN = 0.002, 0.1, 0.01, 0.005
TICK = 5  # seconds: a block of time is one look
MINUTES = 40
HEALTHY = 25
Rate = Callable[[float], float]  # the share of requests that fail, at a minute of the step


class World(NamedTuple):
    name: str
    challenger: Rate
    champion: Rate = lambda minute: USUAL
    seed: int = 2


def steady(rate: float) -> Rate:
    return lambda minute: rate


def _from(begin: float, rate: float) -> Rate:
    return lambda minute: rate if minute >= begin else USUAL


def _between(begin: float, end: float, rate: float) -> Rate:
    return lambda minute: rate if begin <= minute < end else USUAL


OUTAGE = _between(12, 14, 0.3)
WORLDS = (
    World("as good as the champion (1 %)", steady(USUAL)),
    World("2 % errors", steady(0.02)),
    World("5 % errors", steady(0.05)),
    World("5 % from minute 20 on", _from(20, 0.05)),
    World("an outage of both, minutes 12 to 14", OUTAGE, OUTAGE),
)


class Look(NamedTuple):
    """`p`: of a z-test of two shares at this look, one-sided, as if it were the only one."""

    minute: float
    finding: Finding
    p: float


def looks(
    world: World, per_second: float = 100.0, minutes: float = MINUTES, weight: float = WEIGHT
) -> Iterator[Look]:
    """All looks at the evidence, until the FAIL or the end."""
    random = np.random.default_rng(world.seed)
    check = check_of(CheckConfig(metric="error_rate", max_increase=MARGIN))
    before = _cell("v2", 20_000, int(random.binomial(20_000, USUAL)), 1, 0)
    evidence = Evidence.begin("v2", "v3", before)
    evidence.open("r", 2, 1, weight)
    context = CheckContext(1, 100, ALPHA, ALPHA, steps=1)
    sums = np.zeros(4)
    for second in range(0, int(minutes * 60), TICK):
        total = int(random.poisson(per_second * TICK))
        new = int(random.binomial(total, weight))
        bad = int(random.binomial(new, world.challenger(second / 60)))
        bad_old = int(random.binomial(total - new, world.champion(second / 60)))
        cells = [_cell("v3", new, bad, 2, second + 1), _cell("v2", total - new, bad_old, 2, second + 1)]
        gather(evidence, [cell for cell in cells if cell.requests], (check,))
        sums += (new, bad, total - new, bad_old)
        finding = evaluate_check(check, evidence, context)
        yield Look((second + TICK) / 60, finding, _p_value(*sums))
        if finding.verdict is Verdict.FAIL:
            return


def _cell(backend: str, n: int, errors: int, version: int, second: int) -> Cell:
    cell = Cell("r", backend, "champion", version, requests=n, errors=errors)
    cell.second, cell.unkeyed = second, n
    return cell


def _p_value(n: float, bad: float, m: float, bad_old: float) -> float:
    both = (bad + bad_old) / (n + m) if n + m else 0.0
    spread = sqrt(both * (1 - both) * (1 / n + 1 / m)) if n and m else 0.0
    return 0.5 * erfc((bad / n - bad_old / m) / spread / sqrt(2)) if spread else 1.0


@cache
def paths() -> dict[str, tuple[Look, ...]]:
    return {world.name: tuple(looks(world)) for world in WORLDS}


@cache
def healthy() -> tuple[tuple[Look, ...], ...]:
    """Challengers that are as good as the champion."""
    return tuple(tuple(looks(World("", steady(USUAL), seed=seed))) for seed in range(10, 10 + HEALTHY))


STYLE = """svg { background: #fff; } text { font: 12px system-ui, sans-serif; fill: #454f5e; } .note { font-size: 11px; }
.grid { stroke: #e6e9ee; } polyline { fill: none; stroke-width: 1.8; } .bound { stroke: #c22f3a; stroke-width: 1.5; stroke-dasharray: 5 3; }
.p0 { stroke: #2f6fde; } .p1 { stroke: #d97a0b; } .p2 { stroke: #c22f3a; } .p3 { stroke: #8250c4; } .p4 { stroke: #12937f; }
circle.p1, circle.p2, circle.p3 { stroke: none; } circle.p1 { fill: #d97a0b; } circle.p2 { fill: #c22f3a; } circle.p3 { fill: #8250c4; }
.band { fill: #f2d3a5; opacity: 0.6; } .all { stroke: #2f6fde; opacity: 0.5; stroke-width: 1.2; }"""


def _picture(plot: Plot, name: str, title: str, description: str) -> str:
    plot.marks.insert(0, tag("style", Markup(STYLE)))
    drawn = plot.svg(name, title, description)
    return text_of([Markup(drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)), "\n"])


def _minutes(value: float) -> str:
    return f"{value:g}"


def _plot(y: Scale, bottom: str, words: Callable[[float], str]) -> Plot:
    plot = Plot(Scale(0, MINUTES), y, width=680, height=320)
    plot.x_axis(bottom, _minutes, about=8)
    plot.y_axis(words)
    return plot


def evidence() -> str:
    """Evidence against the limit over time, in five worlds."""
    limit = log(1 / ALPHA)
    plot = _plot(Scale(-8, 10), "minutes in the step", _minutes)
    plot.level(limit, "bound", "FAIL from here on: 1 in 500")
    for number, (_, path) in enumerate(paths().items()):
        points = [(look.minute, min(max(_evidence(look), -8.0), 10.0)) for look in path]
        plot.line(points, f"p{number}")
        if path[-1].finding.verdict is Verdict.FAIL:
            plot.dot(*points[-1], f"p{number}", 4)
    names = ", ".join(f"{world.name}: {_end(paths()[world.name])}" for world in WORLDS)
    for number, world in enumerate(WORLDS):
        at = plot.left + 330, plot.height - plot.bottom - 78 + number * 15
        plot.add(
            tag(
                "line",
                x1=at[0],
                x2=at[0] + 18,
                y1=at[1] - 4,
                y2=at[1] - 4,
                class_=f"p{number}",
                stroke_width=2,
            )
        )
        plot.label(at[0] + 24, at[1], f"{world.name}", "note", "start")
    return _picture(
        plot, "evidence", "Evidence against the limit", f"Log of the evidence over time. {names}."
    )


def _evidence(look: Look) -> float:
    return 0.0 if look.finding.evidence is None else look.finding.evidence


def _end(path: Sequence[Look]) -> str:
    last = path[-1]
    failed = last.finding.verdict is Verdict.FAIL
    return f"FAIL after {last.minute:.1f} minutes" if failed else f"no FAIL in {MINUTES} minutes"


def estimates() -> str:
    """By how much more the challenger fails, with the interval, beside what is allowed; of a challenger with 2 % errors."""
    plot = _plot(Scale(-0.01, 0.03), "minutes in the step", lambda share: f"{share * 100:g}%")
    known = [look for look in paths()["2 % errors"] if look.finding.estimate is not None]
    ends = [(look.minute, look.finding.interval) for look in known if look.finding.interval]
    upper = [(minute, min(interval[1], 0.03)) for minute, interval in ends]
    lower = [(minute, max(interval[0], -0.01)) for minute, interval in ends]
    plot.area([*upper, *reversed(lower)], "band")
    plot.level(MARGIN, "bound", "allowed: 0.5 % more than the champion")
    plot.line([(look.minute, look.finding.estimate or 0.0) for look in known], "p1")
    said = _end(paths()["2 % errors"])
    return _picture(
        plot, "estimate", "More errors than the champion", f"A challenger with 2 % errors: {said}."
    )


def repeated_looks() -> str:
    """Healthy challengers, by the evidence and by an ordinary test that is asked again and again."""
    plot = _plot(
        Scale(1e-4, 1, logarithmic=True),
        "minutes in the step; each line is a challenger that is as good as the champion",
        lambda p: f"{p:g}",
    )
    plot.level(0.01, "bound", "an ordinary test says: worse (p below 1 %)")
    for path in healthy():
        plot.line([(look.minute, max(look.p, 1e-4)) for look in path], "all")
    wrong = sum(min(look.p for look in path[12:]) < 0.01 for path in healthy())
    failed = sum(path[-1].finding.verdict is Verdict.FAIL for path in healthy())
    description = (
        f"By p < 1 % at some look {wrong} of {HEALTHY} would be aborted; by the evidence {failed} are."
    )
    return _picture(plot, "looks", "An ordinary test, asked again and again", description)


def caption() -> str:
    """What the pictures show, in numbers."""
    wrong = sum(min(look.p for look in path[12:]) < 0.01 for path in healthy())
    highest = max(exp(_evidence(look)) for path in healthy() for look in path)
    rows = [f"| {world.name} | {_end(paths()[world.name])} |" for world in WORLDS]
    table = "\n".join(["| the challenger | verdict |", "|---|---|", *rows])
    return (
        f"{table}\n\nOf the {HEALTHY} healthy challengers of the third picture, the ordinary test would have aborted {wrong} after the first minute. "
        f"The evidence against one of them was never above {highest:.2g} to 1; a FAIL needs 500 to 1."
    )


def main(runs: int = 40) -> None:
    for weight, per_second in ((0.05, 100.0), (0.5, 100.0)):
        for rate in (0.10, 0.05, 0.03, 0.02):
            found = list[tuple[int, float]]()
            for seed in range(runs):
                *_, last = looks(World("", steady(rate), seed=seed), per_second, 600, weight)
                if last.finding.verdict is Verdict.FAIL:
                    found.append((last.finding.n, last.minute))
            found.sort()
            half = found[len(found) // 2] if found else (0, 0.0)
            print(
                f"{weight:.0%} of {per_second:g}/s, 1 → {rate:.0%}: {len(found)} of {runs}, median {half}",
                flush=True,
            )


if __name__ == "__main__":
    main()
