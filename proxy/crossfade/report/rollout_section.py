"""A rollout of any strategy: its steps, errors and latency of both sides, its checks, and how their evidence came."""

from __future__ import annotations

from collections.abc import Callable

from crossfade.report.inputs import Decision, Report, Rollout, Verdict
from crossfade.report.markup import Child, Markup, tag
from crossfade.report.plot import Plot, Scale, figure, legend, since_start, table
from crossfade.report.words import duration, number, percent, whole

_ROW, _LABELS = 26.0, 330.0
_LOWEST, _HIGHEST = -1.0, 1.25  # evidence in units of its bound, that is shown
_ADVICE = {"PROMOTE": "good", "KEEP": "bad", "UNDECIDED": "wait"}
_KINDS = {"PASS": "good", "FAIL": "bad", "UNDECIDED": "wait", "VOID": "void"}


def steps(rollout: Rollout) -> Markup:
    ended = rollout.phase not in ("progressing", "paused")
    items = []
    for i, step in enumerate(rollout.steps):
        what = f"mirror {percent(step.mirror)}" if step.mirror else percent(step.weight)
        kind = (
            "done"
            if i < rollout.step or rollout.phase == "promoted"
            else "now"
            if i == rollout.step and not ended
            else None
        )
        items.append(
            tag("li", f"{what}, {duration(step.hold)}{', approval' if step.approval else ''}", class_=kind)
        )
    return tag("ol", items, class_="steps")


def recommendation(rollout: Rollout) -> list[Markup]:
    said = rollout.recommendation
    if said is None:
        return []
    low, high = ("" if end is None else percent(end) for end in said.interval or (None, None))
    row: list[Child] = [
        tag("strong", said.recommendation, class_=_ADVICE.get(said.recommendation)),
        "" if said.lift is None else percent(said.lift),
        f"{low} to {high}" if low or high else "",
        percent(said.min_lift),
        "" if said.p_value is None else f"{said.p_value:.2g}",
        "" if said.eta_seconds is None else duration(said.eta_seconds),
        said.reason,
    ]
    columns = (
        "recommendation",
        "lift#",
        "at all looks#",
        "min_lift#",
        "p of no difference#",
        "until a verdict#",
        "reason",
    )
    about = (
        f"By {said.primary}: what the challenger gains over the champion, and whether that is worth a change."
    )
    return [
        figure("Recommendation", tag("div", table(columns, [row]), class_="scroll"), about, class_="wide")
    ]


def traffic(report: Report) -> list[Markup]:
    rows: list[list[Child]] = [
        [
            name,
            n.role,
            percent(report.route.split.get(name, 0.0)),
            whole(n.requests),
            whole(n.errors),
            percent(n.errors / n.requests) if n.requests else "",
            whole(n.fell_back),
            "" if n.p50 is None else duration(n.p50),
            "" if n.p99 is None else duration(n.p99),
        ]
        for name, n in report.route.backends.items()
    ]
    columns = (
        "backend",
        "role",
        "weight#",
        "requests#",
        "errors#",
        "share of errors#",
        "answered by fallback#",
        "p50#",
        "p99#",
    )
    about = "Requests and errors since the start of the proxy; latency of the last ten seconds before this report. Mirrored copies are counted for the role shadow."
    return [
        figure(
            "Traffic, errors, latency",
            tag("div", table(columns, rows), class_="scroll"),
            about,
            class_="wide",
        )
    ]


def checks(rollout: Rollout) -> list[Markup]:
    if not rollout.verdicts:
        return []
    out = [
        figure(
            "Checks",
            tag("div", _verdicts(rollout), class_="scroll"),
            "One question asked of the evidence each, and what it says now.",
            class_="wide",
        )
    ]
    bars = [verdict for verdict in rollout.verdicts if verdict.evidence is not None and verdict.bound]
    return [_bars(bars), *out] if bars else out


def _verdicts(rollout: Rollout) -> Markup:
    rows: list[list[Child]] = [
        [
            v.check,
            tag("b", v.verdict, class_=_KINDS.get(v.verdict)),
            whole(v.n),
            "" if v.estimate is None else number(v.estimate),
            "" if v.interval is None else f"{number(v.interval[0])} to {number(v.interval[1])}",
            v.reason,
        ]
        for v in rollout.verdicts
    ]
    return table(("check", "verdict", "n#", "estimate#", "interval", "reason"), rows)


def _bars(verdicts: list[Verdict]) -> Markup:
    plot = Plot(Scale(_LOWEST, _HIGHEST), Scale(0, 1), 1080, 60 + _ROW * len(verdicts), _LABELS)
    plot.x_axis("evidence of harm, as a part of what proves it", percent, 6)
    plot.upright(0.0, "zero")
    plot.upright(1.0, "limit")
    rows = []
    for i, verdict in enumerate(verdicts):
        assert verdict.evidence is not None
        assert verdict.bound is not None
        part = verdict.evidence / verdict.bound
        y, end, zero = plot.top + _ROW * (i + 0.5), plot.across(part), plot.across(0.0)
        kind = _KINDS.get(verdict.verdict, "soft")
        name = verdict.check if len(verdict.check) <= 44 else f"{verdict.check[:43]}…"
        plot.label(plot.left - 8, y + 4, name, "name", "end")
        plot.add(
            tag(
                "rect",
                x=min(zero, end),
                y=y - 6,
                width=max(abs(end - zero), 1.5),
                height=12.0,
                class_=f"bar {kind}",
            )
        )
        rows.append(
            [
                verdict.check,
                verdict.verdict,
                number(verdict.evidence),
                number(verdict.bound),
                verdict.in_words,
            ]
        )
    return figure(
        "Evidence of each check against its bound",
        plot.svg(
            "evidence",
            "Evidence of each check against its bound",
            "At 100% harm is proven and the check fails; below zero the evidence speaks for the challenger.",
        ),
        "At 100% harm is proven, however often one looks, and the check fails. Below zero the evidence speaks for the challenger.",
        table(("check", "verdict", "log e-value#", "bound#", "in words"), rows),
        "wide",
    )


def evidence_path(report: Report) -> list[Markup]:
    """The evidence at each decision, and now."""
    moments = [(d.at, d.verdicts) for d in report.decisions if d.verdicts]
    if report.rollout is not None and report.rollout.verdicts:
        moments.append((report.made_at, report.rollout.verdicts))
    paths: dict[str, list[tuple[float, float]]] = {}
    for at, verdicts in moments:
        for v in verdicts:
            if v.evidence is not None and v.bound:
                paths.setdefault(v.check, []).append((at, v.evidence / v.bound))
    paths = {check: path for check, path in paths.items() if len(path) > 1}
    if not paths:
        return []
    start, end = moments[0][0], moments[-1][0]
    values = [value for path in paths.values() for _, value in path]
    plot = Plot(since_start(end - start), Scale(max(min(values), _LOWEST) - 0.05, 1.15), 1080, 280)
    plot.x_axis(
        "time since the first of these decisions", lambda seconds: duration(seconds) if seconds else "0", 8
    )
    plot.y_axis(percent)
    plot.level(0.0, "zero")
    plot.level(1.0, "limit", "harm is proven")
    names = [(f"path{i % 6}", check) for i, check in enumerate(paths)]
    for (kind, _), path in zip(names, paths.values(), strict=True):
        plot.line([(at - start, value) for at, value in path], f"line {kind}")
        for at, value in path:
            plot.dot(at - start, value, f"solid {kind}", 3)
    rows = [
        [check, duration(at - start), percent(value)] for check, path in paths.items() for at, value in path
    ]
    return [
        figure(
            "Evidence at each decision",
            [
                legend(*names),
                plot.svg(
                    "evidence-path",
                    "Evidence at each decision, against its bound",
                    "Each step begins with new evidence.",
                ),
            ],
            "Evidence as a part of its bound when decisions were made, and now. Each step begins with new evidence.",
            table(("check", "after#", "part of the bound#"), rows),
            "wide",
        )
    ]


def decisions(report: Report, when: Callable[[float], str]) -> list[Markup]:
    if not report.decisions:
        return []
    rows: list[list[Child]] = [
        [when(d.at), tag("b", d.action), d.actor, _position(d), d.reason] for d in reversed(report.decisions)
    ]
    return [
        figure(
            "Decisions",
            tag("div", table(("at", "decision", "by", "led to", "reason"), rows), class_="scroll"),
            "From the journal, the latest first.",
            class_="wide",
        )
    ]


def _position(decision: Decision) -> str:
    to, parts = decision.to, []
    if isinstance(to.get("phase"), str):
        parts.append(to["phase"].replace("_", " "))
    if isinstance(to.get("step"), int):
        parts.append(f"step {to['step'] + 1}")
    if isinstance(to.get("weight"), int | float):
        parts.append(percent(to["weight"]))
    return ", ".join(parts)
