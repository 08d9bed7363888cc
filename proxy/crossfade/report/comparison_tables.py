"""Tables of a comparison: decisions against decisions, fields that differ, and the worst pairs."""

from __future__ import annotations

from collections.abc import Callable

from crossfade.quality.comparison_summary import ComparisonSummary, WorstSummary
from crossfade.report.markup import Child, Markup, tag
from crossfade.report.plot import figure, table
from crossfade.report.words import number, percent, points, whole

NO_DECISION = "(none)"
_SHADES = 5  # of the cells of the confusion table


def confusion(found: ComparisonSummary) -> list[Markup]:
    labels, counts = found.decisions.confusion.labels, found.decisions.confusion.counts
    n = sum(map(sum, counts))
    if not n:
        return []
    names = [label or NO_DECISION for label in labels]
    head = tag(
        "tr", tag("td"), [tag("th", name, scope="col") for name in names], tag("th", "all", scope="col")
    )
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            [_cell(counts[i][j], sum(counts[i]), i == j) for j in range(len(names))],
            tag("td", whole(sum(counts[i])), class_="num"),
        )
        for i, name in enumerate(names)
        if sum(counts[i])
    ]
    caption = tag("caption", f"rows: {found.champion}; columns: {found.challenger}")
    grid = tag("table", caption, tag("thead", head), tag("tbody", rows), class_="confusion")
    return [figure("Decisions", tag("div", grid, class_="scroll"), _about_decisions(found))]


def _cell(n: int, of_row: int, agrees: bool) -> Markup:
    share = n / of_row if of_row else 0.0
    shade = min(int(share * _SHADES) + 1, _SHADES) if n else 0
    kind = ("same" if agrees else "different") if n else "none"
    return tag("td", whole(n), tag("small", percent(share)), class_=f"{kind} shade{shade}")


def _about_decisions(found: ComparisonSummary) -> str:
    decisions = found.decisions
    parts = [
        f"How often each decision of {found.champion} met each one of {found.challenger}, with the share of the row."
    ]
    if decisions.agreement is not None:
        low, high = decisions.agreement.interval
        parts.append(
            f"They agree in {percent(decisions.agreement.estimate)} (95% interval {percent(low)} to {percent(high)})."
        )
    if decisions.kappa is not None and decisions.chance_agreement is not None:
        parts.append(
            f"By chance it would be {percent(decisions.chance_agreement)}, so Cohen's kappa is {number(decisions.kappa.estimate)}."
        )
    if decisions.raised or decisions.lowered:
        parts.append(
            f"Changed from no to yes: {whole(decisions.raised)}; from yes to no: {whole(decisions.lowered)}."
        )
    return " ".join(parts)


def fields(found: ComparisonSummary) -> list[Markup]:
    if not found.fields:
        return []
    known = found.noise_pairs > 0
    rows: list[list[Child]] = [
        [
            tag("code", field.path),
            percent(field.differs),
            "not asked" if field.noise is None else percent(field.noise),
            points(field.differs - (field.noise or 0.0)),
        ]
        for field in found.fields
    ]
    about = (
        f"How often the value at each path differs between {found.champion} and {found.challenger}, and between two answers of {found.champion}. "
        + (
            "Where both are alike, as of ids and times, the field says nothing of the model."
            if known
            else f"{found.champion} was not asked twice."
        )
    )
    columns = ("field", f"differs from {found.challenger}#", f"{found.champion} from itself#", "beyond that#")
    return [figure("Fields that differ", tag("div", table(columns, rows), class_="scroll"), about)]


def worst(found: ComparisonSummary, when: Callable[[float], str]) -> list[Markup]:
    if not found.worst:
        return []
    rows = [_worst_row(pair, when) for pair in found.worst]
    columns = ("distance#", "request", f"{found.champion} (champion)", f"{found.challenger} (challenger)")
    about = (
        f"The {len(rows)} pairs that are farthest apart. Texts that may say who a customer is are replaced by their length and a hash, "
        "unless `redact` says what is to be hidden."
    )
    return [
        figure(
            "Worst pairs",
            tag("div", table(columns, rows, class_="worst"), class_="scroll"),
            about,
            class_="wide",
        )
    ]


def _worst_row(pair: WorstSummary, when: Callable[[float], str]) -> list[Child]:
    named = [f"{by}: {value or '(unknown)'}" for by, value in pair.segments.items()]
    request = [tag("code", pair.request_id), tag("br"), tag("small", " · ".join([when(pair.at), *named]))]
    sides = [
        [tag("b", decision) if decision else "", tag("pre", answer) if answer else ""]
        for decision, answer in (
            (pair.champion_decision, pair.champion),
            (pair.challenger_decision, pair.challenger),
        )
    ]
    return [number(pair.distance), request, *sides]
