"""The report as one HTML page, top to bottom: the verdict, who was compared, what was found, what is not known.

Rule: everything is drawn from the numbers that the JSON has. The page loads nothing and runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from crossfade.quality.comparison_summary import ComparisonSummary
from crossfade.report import comparison_plots as plots
from crossfade.report import comparison_tables as tables
from crossfade.report import rollout_section
from crossfade.report.drift_section import of_drift
from crossfade.report.inputs import Report
from crossfade.report.judgement import Judgement, judged
from crossfade.report.label_section import of_labels
from crossfade.report.markup import Child, Markup, document, tag
from crossfade.report.score_plots import score_plots
from crossfade.report.style import STYLE
from crossfade.report.unknown import unknowns
from crossfade.report.words import counted, number, percent, whole

When = Callable[[float], str]


def page(report: Report, when: When) -> str:
    """`when`: seconds since the epoch in words."""
    title = f"{report.challenger} beside {report.champion}" if report.challenger else report.route.name
    found, rollout = report.comparison, report.rollout
    body: list[Child] = [_head(title, report, when), _verdict(judged(report)), _facts(report, when)]
    if found is not None and found.pairs:
        body += _of_pairs(found, when)
    body.append(_section("Labels and KPIs", of_labels(report)))
    body.append(_section("Drift", of_drift(report.drift, when)))
    body.append(_section("The rollout" if rollout else "The route", _of_rollout(report, when)))
    unknown = unknowns(report)
    if unknown:
        body.append(
            _section("What is not known", [tag("ul", [tag("li", each) for each in unknown], class_="card")])
        )
    body.append(_section("How to read this", _how_to_read(report)))
    return document(f"{title} · {report.route.name} · Crossfade", STYLE, tag("main", body))


_OF_PAIRS = (
    "A pair is the champion's answer to a client's request, and the challenger's answer to a copy of the same request. No client saw the challenger's answer.",
    "Noise is how far the champion is from itself: some requests are sent to it twice. Excess is what the challenger differs beyond that.",
    "A 95% interval covers the true value at all times together with 95%, however often one looks. It is wider than one that may be looked at once.",
    "A distance is 0 for equal answers and 1 for the farthest ones; how it is measured depends on what the answers say.",
)
_OF_LABELS = (
    "Labels are judged when their predictions are as old as the horizon, on all backends alike. A prediction without a label by then counts in no measure but the share that is labelled.",
    "What can have no label on one side, such as a loan that was not given, makes these measures differ without any difference of the models.",
)
_OF_CHECKS = (
    "A check fails only when its evidence reaches the bound. That is so rare without harm that the whole rollout has a false alarm with probability alpha at most, "
    "however often one looks.",
    "PASS needs enough requests and an estimate within the limit; UNDECIDED is neither; VOID says that the evidence itself is not valid.",
)


def _how_to_read(report: Report) -> list[Markup]:
    lines: tuple[str, ...] = _OF_PAIRS if report.comparison is not None else ()
    lines += _OF_LABELS if report.labels is not None else ()
    lines += _OF_CHECKS if report.rollout is not None else ()
    return [tag("ul", [tag("li", each) for each in lines], class_="card")] if lines else []


def _head(title: str, report: Report, when: When) -> Markup:
    mark = tag(
        "svg",
        tag("circle", cx=10.0, cy=10.0, r=9.0, class_="solid champion"),
        tag("circle", cx=20.0, cy=10.0, r=9.0, class_="solid challenger"),
        width="30",
        height="20",
        aria_hidden="true",
    )
    below = f"route {report.route.name} · made {when(report.made_at)} · Crossfade {report.version}"
    return tag("header", tag("h1", mark, title), tag("p", below, class_="soft"))


def _verdict(judgement: Judgement) -> Markup:
    support = tag("ul", [tag("li", each) for each in judgement.support]) if judgement.support else ""
    return tag(
        "section",
        tag("h2", judgement.sentence),
        support,
        class_=f"card verdict {judgement.tone}",
        id="verdict",
    )


def _facts(report: Report, when: When) -> Markup:
    facts: list[tuple[str, Child]] = []
    if report.champion:
        facts.append(("Champion", [tag("i", class_="swatch champion"), report.champion]))
    if report.challenger:
        facts.append(("Challenger", [tag("i", class_="swatch challenger"), report.challenger]))
    found, rollout = report.comparison, report.rollout
    if found is not None:
        facts += [
            (
                "Compared",
                f"{when(found.first_pair or found.since)} to {when(found.last_pair or found.until)}",
            ),
            (
                "Requests",
                f"{counted(found.pairs, 'pair')}; {found.champion} asked twice in {whole(found.noise_pairs)}",
            ),
        ]
        if found.keys.pairs:
            about = "" if found.keys.distinct < 250 else "about "
            facts.append(("Customers", f"{about}{whole(found.keys.distinct)}"))
    if rollout is not None:
        phase = rollout.phase.replace("_", " ")
        facts.append(
            (
                "Rollout",
                f"{rollout.strategy.replace('_', ' ')}, {phase}, {percent(rollout.weight)} of the traffic",
            )
        )
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts], class_="facts")


def _section(title: str, parts: list[Markup]) -> Markup:
    return tag("section", tag("h2", title), tag("div", parts, class_="grid")) if parts else Markup("")


def _of_pairs(found: ComparisonSummary, when: When) -> list[Child]:
    decided = tables.confusion(found) if found.decisions.pairs else []
    return [
        _tiles(found),
        _section("Decisions and time", [*decided, *tables.fields(found), *plots.over_time(found)]),
        _section("Segments", plots.segments(found)),
        _section("Scores", score_plots(found)),
        _section("Latency", plots.latency(found)),
        _section("Examples", tables.worst(found, when)),
    ]


def _tiles(found: ComparisonSummary) -> Markup:
    excess, distance = plots.excess_of(found), found.distance
    tiles: list[tuple[str, str, str]] = []
    if excess is not None:
        limit = "" if found.limit is None else f", limit {plots.in_units(found, found.limit)}"
        tiles.append(
            (
                f"{plots.measured(found)} beyond noise",
                plots.in_units(found, excess.estimate),
                f"{plots.range_in_units(found, excess.interval)}{limit}",
            )
        )
    agreement, kappa = found.decisions.agreement, found.decisions.kappa
    if agreement is not None:
        tiles.append(
            (
                "agreement",
                percent(agreement.estimate),
                "" if kappa is None else f"Cohen's kappa {number(kappa.estimate)}",
            )
        )
    if found.measure == "decision" and distance.mean is not None:
        noise = (
            "noise not measured"
            if distance.noise is None
            else f"of {found.champion} from itself {number(distance.noise)}"
        )
        tiles.append(("mean distance", number(distance.mean), noise))
    n = sum(segment.flagged for segment in found.segments)
    tiles.append(("segments flagged", str(n), f"of {len(found.segments)}"))
    again, theirs = found.latency.champion_again.quantiles, found.latency.challenger.quantiles
    if again and theirs:
        tiles.append(
            ("p99 latency", f"{theirs['p99'] / again['p99']:.2f}×", f"of {found.champion}, asked alike")
        )
    tiles.append(
        (
            "copies that failed",
            percent(found.copy_errors / found.pairs),
            f"{whole(found.copy_errors)} of {whole(found.pairs)}",
        )
    )
    return tag(
        "div",
        [tag("div", tag("p", a), tag("b", b), tag("small", c), class_="card tile") for a, b, c in tiles],
        class_="tiles",
    )


def _of_rollout(report: Report, when: When) -> list[Markup]:
    rollout = report.rollout
    out: list[Markup] = []
    if rollout is not None:
        waits = rollout.waiting_for and f"Waiting for {rollout.waiting_for}."
        about = [tag("p", each) for each in (waits, *report.would_change) if each]
        out.append(tag("figure", tag("h3", "Steps"), rollout_section.steps(rollout), about, class_="wide"))
        out += rollout_section.recommendation(rollout)
        out += rollout_section.checks(rollout) + rollout_section.evidence_path(report)
    out += rollout_section.traffic(report) + rollout_section.decisions(report, when)
    return out
