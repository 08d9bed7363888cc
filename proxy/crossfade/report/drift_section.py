"""Drift by field: how far live inputs and scores are from the profile, and the alarms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crossfade.report.inputs import Drift, DriftField
from crossfade.report.markup import Child, Markup, tag
from crossfade.report.plot import Plot, Scale, figure, table
from crossfade.report.words import counted, duration, number, percent, whole

_ROW, _LABELS = 26.0, 330.0
_DRAWN = 25  # fields, the farthest ones
_LONGEST = 44  # characters of a name beside its bar


def of_drift(found: Drift | None, when: Callable[[float], str]) -> list[Markup]:
    if found is None:
        return []
    if found.profile is None:
        trouble = f": {found.trouble}" if found.trouble else ""
        return [tag("p", f"There is no profile to compare with yet{trouble}.", class_="card wide")]
    seen = [field for field in (*found.fields, *found.scores) if field.drift is not None]
    out = [_distances(found, seen), _fields(found, seen)] if seen else []
    return [*out, *_alarms(found, when)]


def _named(found: Drift, field: DriftField) -> str:
    return f"score of {field.name}" if field in found.scores else field.name


def _kind(found: Drift, field: DriftField) -> str:
    if field.alarm_at is not None:
        return "bad"
    return "wait" if field.drift is not None and field.drift.farthest > found.tolerance else "good"


def _distances(found: Drift, seen: Sequence[DriftField]) -> Markup:
    farthest = sorted(seen, key=lambda field: -field.drift.farthest if field.drift else 0.0)[:_DRAWN]
    highest = max([found.tolerance, *(f.drift.farthest for f in farthest if f.drift)])
    plot = Plot(Scale(0.0, min(highest * 1.15, 1.0)), Scale(0, 1), 1080, 60 + _ROW * len(farthest), _LABELS)
    plot.x_axis("largest difference of shares", percent, 6)
    plot.upright(found.tolerance, "limit", "tolerance")
    for i, field in enumerate(farthest):
        assert field.drift is not None
        y, name = plot.top + _ROW * (i + 0.5), _named(found, field)
        shown = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        plot.label(plot.left - 8, y + 4, shown, "name", "end")
        width = max(plot.across(field.drift.farthest) - plot.left, 1.5)
        kind = f"bar {_kind(found, field)}"
        plot.add(tag("rect", x=plot.left, y=y - 6, width=width, height=12.0, class_=kind))
    rows = [[_named(found, f), percent(f.drift.farthest)] for f in farthest if f.drift]
    about = (
        f"The largest difference of a share from the profile {found.profile.name if found.profile else ''}, in the latest full window of "
        f"{duration(found.window)} with {counted(found.rows, 'row')}. An alarm needs evidence that it is beyond the tolerance of "
        f"{percent(found.tolerance)}; false alarms of the route come once in {duration(found.expected_run)} or less often."
    )
    return figure(
        "Distance from the profile",
        plot.svg(
            "drift",
            "Largest difference of shares from the profile, by field",
            f"{counted(len(farthest), 'field')}; red ones have an alarm.",
        ),
        about,
        table(("field", "distance#"), rows),
        "wide",
    )


def _fields(found: Drift, seen: Sequence[DriftField]) -> Markup:
    rows: list[list[Child]] = []
    for field in seen:
        drift = field.drift
        assert drift is not None
        usual = "" if drift.psi_usual is None else f" (usual {number(drift.psi_usual)})"
        rows.append(
            [
                _named(found, field),
                field.type,
                whole(drift.n),
                percent(drift.distance),
                "" if drift.psi is None else f"{number(drift.psi)}{usual}",
                "" if drift.wasserstein is None else number(drift.wasserstein),
                "" if drift.chi_square_p is None else number(drift.chi_square_p),
                f"{percent(drift.missing)} ({percent(drift.missing_before)})",
                ", ".join(f"{name} ({whole(n)})" for name, n in list(drift.unseen.items())[:5]),
                number(drift.log_e),
            ]
        )
    columns = (
        "field",
        "type",
        "values#",
        "distance#",
        "PSI#",
        "Wasserstein#",
        "chi-square p#",
        "missing (before)#",
        "unseen values",
        "log e-value#",
    )
    about = "PSI, Wasserstein distance and p decide nothing: PSI is large by chance where there are few values, which its usual value shows."
    return figure("Fields", tag("div", table(columns, rows), class_="scroll"), about, class_="wide")


def _alarms(found: Drift, when: Callable[[float], str]) -> list[Markup]:
    if not found.alarms:
        return []
    rows: list[list[Child]] = [
        [when(alarm.at), alarm.kind.replace("_", " "), alarm.subject, alarm.detail]
        for alarm in reversed(found.alarms)
    ]
    grid = tag("div", table(("at", "kind", "of", "what was found"), rows), class_="scroll")
    return [figure("Alarms", grid, "The latest first.", class_="wide")]
