"""In words, what an edit of the file changes about a route: from what the file said before and what it says now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import Any

from crossfade.config.model import Config, MirrorConfig, PredictionConfig, RouteConfig
from crossfade.config.section import Section
from crossfade.config.units import percent
from crossfade.control.applied import Applied, settings_of
from crossfade.rollout.machine import Step
from crossfade.rollout.plan import Check, Fuse, Goal, Plan
from crossfade.rollout.verdict import duration
from crossfade.scale import WHOLE

_TIMES = ("watch", "warm_up", "max_step_time")
_PLAIN = ("strategy", "champion", "on_undecided", "alpha", "advance_early")

_FORMER_INSPECT = 65_536  # bytes
_LONGEST = 400  # characters; a body of `respond` may have 64 KiB


def split_words(weights: dict[str, int]) -> str:
    """As `v2 80%, v3 20%`, those with a weight only."""
    return ", ".join(f"{name} {percent(weight / WHOLE)}" for name, weight in weights.items() if weight)


def route_edits(before: Applied, after: Applied, begun: Collection[str] = ()) -> list[str]:
    """All but the split, the plans and the rollouts that come or go. `begun`: challengers whose rollout has just begun."""
    if not before.is_known:
        return []
    out = [
        f"version of {name}: {before.versions[name] or 'none'} → {version or 'none'}"
        for name, version in after.versions.items()
        if name in before.versions and name not in begun and before.versions[name] != version
    ]
    out += [f"restart of {name}: yes → no" for name in before.restarted if name not in after.restarted]
    return out + list(setting_edits(_with_new_keys(before.settings, after.settings), after.settings))


@cache
def _defaults() -> dict[str, Any]:
    """The settings of a route that says nothing."""
    route = RouteConfig.model_validate({"name": "r", "split": {"b": "100%"}})
    return settings_of(route, set(), frozenset())


def _with_new_keys(settings: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """States of earlier versions do not have the keys that came later, and have another default of `limits.inspect`.

    What is the default now is no edit of the file.
    """
    defaults = _defaults()
    new = {key: value for key, value in defaults.items() if key in after and key not in settings}
    limits = settings.get("limits")
    if isinstance(limits, dict) and "replay" not in limits:
        if limits.get("inspect") == _FORMER_INSPECT:
            limits = {**limits, "inspect": defaults["limits"]["inspect"]}
        new["limits"] = {**defaults["limits"], **limits}
    prediction = settings.get("prediction")
    if isinstance(prediction, dict):
        new["prediction"] = {
            **_defaults_of(PredictionConfig()),
            **prediction,
            "segment": _sources(prediction),
        }
    without_keys = _defaults_of(MirrorConfig(to="b"))
    new["mirror"] = [{**without_keys, **mirror} for mirror in settings.get("mirror", [])]
    return {**settings, **new}


def _defaults_of(section: Section) -> dict[str, Any]:
    return settings_of(section, set(), frozenset())


def _sources(prediction: dict[str, Any]) -> list[Any]:
    """Segments were paths in the answer once."""
    return [
        {"kind": "answer", "name": source} if isinstance(source, str) else source
        for source in prediction.get("segment", [])
    ]


def setting_edits(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """`before`, `after`: settings as JSON values, a secret as a digest. As `limits.body: none → 1000`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from setting_edits(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif path == "mirror" and before != after:
        yield from _mirror_edits(before, after)
    elif before != after:
        said = f"{_shown(before)} → {_shown(after)}"
        is_secret = "sha256:" in f"{before}{after}"
        yield f"{path}: changed" if is_secret or len(said) > _LONGEST or "\n" in said else f"{path}: {said}"


def _mirror_edits(before: list[Any], after: list[Any]) -> Iterator[str]:
    former, present = ([mirror["to"] for mirror in mirrors] for mirrors in (before, after))
    if former != present:
        yield f"mirror: {_shown(former)} → {_shown(present)}"
    for mirror in after:
        same = next((each for each in before if each["to"] == mirror["to"]), mirror)
        yield from setting_edits(same, mirror, f"mirror to {mirror['to']}")


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{key} {_shown(inner)}" for key, inner in value.items() if inner is not None)
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)


def backend_edits(before: Config, after: Config) -> list[str]:
    """Of the backends, which are nobody's route: as `backend v3: endpoint http://v3-b:8000 is new`."""
    out = [f"backend {name} is gone" for name in before.backends if name not in after.backends]
    for name, backend in after.backends.items():
        former = before.backends.get(name)
        if former is None:
            out.append(f"backend {name} is new")
        elif former != backend:
            old, new = ([e.url for e in b.endpoints] for b in (former, backend))
            words = [f"endpoint {url} is gone" for url in old if url not in new]
            words += [f"endpoint {url} is new" for url in new if url not in old]
            weights = {e.url: e.weight for e in former.endpoints}
            words += [
                f"endpoint {e.url}: weight {weights[e.url]} → {e.weight}"
                for e in backend.endpoints
                if weights.get(e.url, e.weight) != e.weight
            ]
            elsewhere = {"endpoints", "version"}
            was = settings_of(former, elsewhere, before.from_variables)
            now = settings_of(backend, elsewhere, after.from_variables)
            words += setting_edits(was, now)
            out += [f"backend {name}: {word}" for word in words]
    return out


def plan_edits(before: Plan, after: Plan) -> list[str]:
    out = [
        f"{name}: {_or_none(getattr(before, name))} → {_or_none(getattr(after, name))}"
        for name in _PLAIN
        if getattr(before, name) != getattr(after, name)
    ]
    out += [
        f"{name}: {_time(getattr(before, name))} → {_time(getattr(after, name))}"
        for name in _TIMES
        if getattr(before, name) != getattr(after, name)
    ]
    if before.holdback != after.holdback:
        holdbacks = (percent(plan.holdback / WHOLE) for plan in (before, after))
        out.append(f"holdback: {' → '.join(holdbacks)}")
    out += _goal_edits(before.primary, after.primary)
    out += _step_edits(before.steps, after.steps)
    out += _check_edits(before.checks, after.checks)
    if before.fuse != after.fuse:
        out.append(f"fuse: {_fuse(before.fuse)} → {_fuse(after.fuse)}")
    return out


_OF_GOAL: dict[str, Callable[[Any], str]] = {
    "min_lift": percent,
    "min_effect": lambda effect: "none" if effect is None else percent(effect),
    "lower": lambda lower: "lower is better" if lower else "higher is better",
    "act": lambda act: "yes" if act else "no",
}


def _goal_edits(before: Goal | None, after: Goal | None) -> list[str]:
    if before == after:
        return []
    if before is None or after is None or before.title != after.title:
        return [f"primary: {before.title if before else 'none'} → {after.title if after else 'none'}"]
    out = []
    for name, show in _OF_GOAL.items():
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            out.append(f"{name}: {show(old)} → {show(new)}")
    return out


def _or_none(value: object) -> str:
    return "none" if value is None else str(value)


def _time(seconds: float | None) -> str:
    return "none" if seconds is None else duration(seconds)


def _step_edits(before: Sequence[Step], after: Sequence[Step]) -> list[str]:
    if len(before) != len(after):
        return [f"steps: {', '.join(map(_step, before))} → {', '.join(map(_step, after))}"]
    out = []
    for number, (old, new) in enumerate(zip(before, after, strict=True), 1):
        out += [f"{what} of step {number}: {a} → {b}" for what, a, b in _step_pairs(old, new) if a != b]
    return out


def _step_pairs(old: Step, new: Step) -> Iterator[tuple[str, str, str]]:
    yield "weight", percent(old.weight / WHOLE), percent(new.weight / WHOLE)
    yield "mirror", percent(old.mirror / WHOLE), percent(new.mirror / WHOLE)
    yield "hold", duration(old.hold), duration(new.hold)
    yield "approval", _approval(old), _approval(new)
    yield "gate", _shown(old.gate), _shown(new.gate)
    yield "min_requests", str(old.min_requests), str(new.min_requests)


def _approval(step: Step) -> str:
    if step.approval_within is None:
        return _shown(step.approval)
    return f"within {duration(step.approval_within)}, then {step.approval_then}"


def _step(step: Step) -> str:
    share = f"mirror {percent(step.mirror / WHOLE)}" if step.mirror else percent(step.weight / WHOLE)
    return (
        f"{share} for {duration(step.hold)}"
        + (" with approval" * step.approval)
        + (" with a gate" * step.gate)
    )


def _check_subject(check: Check) -> tuple[object, ...]:
    """What makes two checks the same but for their limit."""
    return check.metric, check.bound, check.quantile, check.name, check.query


def _check_edits(before: Sequence[Check], after: Sequence[Check]) -> Iterator[str]:
    old, new = ({_check_subject(c): c.title for c in checks} for checks in (before, after))
    yield from (f"check {title} is gone" for subject, title in old.items() if subject not in new)
    for subject, title in new.items():
        if subject not in old:
            yield f"check {title} is new"
        elif old[subject] != title:
            yield f"check {old[subject]} → {title}"


def _fuse(fuse: Fuse | None) -> str:
    if fuse is None:
        return "off"
    return (
        f"{fuse.consecutive_errors} errors in a row or {percent(fuse.error_share)} of the last {fuse.of_last}"
    )
