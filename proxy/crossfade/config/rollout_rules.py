"""Rules about the parts of a rollout, and about a rollout and the split and mirrors of its route.

Rule: as all rules do, they read the document and skip values that are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from math import log
from typing import get_args

from crossfade.config import units
from crossfade.config.document import Document, Loc, Node
from crossfade.config.problem import BadValue, Problem, listed
from crossfade.config.rollout import BOUNDS, Metric
from crossfade.scale import LEAST_CHANCE, OF_LABELS, OF_SCORES, WHOLE

# The bounds that a metric takes, and the other keys that it needs and takes.
_ANY = ("min_increase", "min", "max_increase", "max")
OF_FEEDBACK = ("kpi", *OF_LABELS)
# The largest number of a metric of labels, where it has one; the lowest is 0.
_LARGEST = {"accuracy": 1.0, "brier": 1.0, "auc": 1.0, "log_loss": -log(LEAST_CHANCE)}
_BOUNDS_OF: dict[str, tuple[str, ...]] = {
    "error_rate": ("max", "max_increase"),
    "rejected": ("max_increase",),
    "unreadable": ("max_increase",),
    "latency": ("max", "max_ratio"),
    "requests": ("min",),
    "score_divergence": ("max", "max_ratio"),
    "disagreement": ("max",),
    "first_token": ("max", "max_ratio"),
    "token_gap": ("max", "max_ratio"),
    "tokens_per_second": ("min", "min_ratio"),
    "output_length": ("max", "max_ratio", "min", "min_ratio"),
    "stream_broken": ("max", "max_increase"),
    "distance": ("max",),
    "segment_divergence": ("max",),
    "shadow_latency": ("max_ratio",),
    "shadow_errors": ("max",),
    "kpi": _ANY,
    **dict.fromkeys(OF_LABELS, _ANY),
    "data_drift": ("max",),
    "score_drift": ("max",),
    "prometheus": ("max", "min"),
}
_WITH_QUANTILE = (
    "latency",
    "shadow_latency",
    "first_token",
    "token_gap",
    "tokens_per_second",
    "output_length",
)
_REQUIRED_KEY = {**dict.fromkeys(_WITH_QUANTILE, "quantile"), "kpi": "name", "prometheus": "query"}
_OPTIONAL_KEYS = {
    **dict.fromkeys(_WITH_QUANTILE, ("quantile",)),
    "kpi": ("name", "kind", "range", "missing"),
    **dict.fromkeys(OF_LABELS, ("name",)),
    "mae": ("name", "range"),
    "data_drift": ("then",),
    "score_drift": ("then",),
    "prometheus": ("query", "name", "for", "of"),
}
_OTHER_KEYS = ("quantile", "name", "query", "for", "of", "kind", "range", "missing", "then")


def _champion_is_challenger(document: Document) -> Iterator[Problem]:
    for loc, rollout in document.each("routes", "*", "rollout", "*"):
        champion, challenger = _text_at(rollout, "champion"), _text_at(rollout, "challenger")
        if champion is not None and champion == challenger:
            message = f'must be another backend than the champion "{champion}"'
            yield document.problem((*loc, "challenger"), message)


def _split_names_outside_rollout(document: Document) -> Iterator[Problem]:
    """A rollout moves weights between champion and challengers; another backend would lose its share to them."""
    for loc, route in document.each("routes", "*"):
        split, rollouts = route.child("split"), _elements(route.child("rollout"))
        named = [_text_at(rollout, key) for rollout in rollouts for key in ("champion", "challenger")]
        if split is None or not split.entries or not rollouts or not _backends_exist(document, *named):
            continue
        for name in split.entries:
            if name not in named and _backends_exist(document, name):
                message = f'"{name}" is neither champion nor challenger of a rollout of this route'
                yield document.problem((*loc, "split", name), message, at_key=True)
        champion = named[0]
        if champion not in split.entries:
            message = f'the champion must be in the split of the route; "{champion}" is not'
            yield document.problem((*loc, "rollout", 0, "champion"), message)


def _concurrent_rollouts(document: Document) -> Iterator[Problem]:
    """Several challengers of one champion: they differ, and each has its own share."""
    for loc, route in document.each("routes", "*"):
        rollouts = _elements(route.child("rollout"))
        if len(rollouts) < 2:
            continue
        champion, challengers = _text_at(rollouts[0], "champion"), set[str | None]()
        for index, rollout in enumerate(rollouts):
            at = (*loc, "rollout", index)
            other, challenger = _text_at(rollout, "champion"), _text_at(rollout, "challenger")
            if champion and other and other != champion:
                message = (
                    f'the rollouts of a route must have the same champion, and the first names "{champion}"'
                )
                yield document.problem((*at, "champion"), message)
            if challenger and challenger in challengers:
                message = f'"{challenger}" is already the challenger of another rollout of this route'
                yield document.problem((*at, "challenger"), message)
            challengers.add(challenger)
            if _text_at(rollout, "strategy") == "blue_green":
                message = (
                    "blue_green must be the only rollout of a route, since its challenger gets all traffic"
                )
                yield document.problem((*at, "strategy"), message)
            elif "steps" not in rollout.given:
                message = 'needs the key "steps", since the route has several rollouts'
                yield document.problem(at, message)
        yield from _champion_without_share(loc, rollouts, document)


def _champion_without_share(loc: Loc, rollouts: Sequence[Node], document: Document) -> Iterator[Problem]:
    """A problem at the first rollout that leaves the champion without a share."""
    total = 0
    for index, rollout in enumerate(rollouts):
        steps = rollout.child("steps")
        last = steps.elements[-1] if steps and steps.elements else None
        try:
            total += _weight_at(last, "weight") if last else 0
        except BadValue:
            return
        if total >= WHOLE:
            message = "must leave the champion a share"
            if not any(known.has_variables for known in rollouts[: index + 1]):
                end = units.percent(total / WHOLE)
                message += f"; the last steps of the challengers up to this one add up to {end}"
            yield document.problem((*loc, "rollout", index, "steps"), message)
            return


def _backends_exist(document: Document, *backends: str | None) -> bool:
    """Whether all of them exist. An unknown backend is one problem; what follows from it is not reported."""
    return all(name is not None and document.root.child("backends", name) for name in backends)


def _mirror_to_split_backend(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        split, mirrors = route.child("split"), route.child("mirror")
        for index, mirror in enumerate(mirrors.elements if mirrors and split else ()):
            name = _text_at(mirror, "to")
            if split and name in split.entries:
                message = f'"{name}" is in the split too, so it gets some requests twice'
                yield document.problem((*loc, "mirror", index, "to"), message, severity="warning")


def _steps_not_rising(document: Document) -> Iterator[Problem]:
    """Mirror shares rise as weights do, and come before all weights."""
    for loc, steps in document.each("routes", "*", "rollout", "*", "steps"):
        before = (-1, 0)  # a first step may have weight 0 and no mirror
        for index, step in enumerate(steps.elements):
            try:
                weight, mirror = _weight_at(step, "weight"), _weight_at(step, "mirror")
            except BadValue:
                continue
            if not {"weight", "mirror"} & set(step.given):
                yield document.problem((*loc, index), 'needs the key "weight" or "mirror"')
            elif weight and mirror:
                message = "a step has a weight or a mirror, not both; write two steps, first the mirror"
                yield document.problem((*loc, index, "mirror"), message, at_key=True)
            elif (weight, mirror) <= before:
                key = "mirror" if mirror else "weight"
                place = (*loc, index, key) if key in step.given else (*loc, index)
                message = "must be more than the step before"
                if not steps.has_variables:
                    has = units.percent((before[0] or before[1]) / WHOLE)
                    message += f", which has the {'mirror' if before[1] else 'weight'} {has}"
                yield document.problem(place, message)
            before = (weight, mirror)


def _holdback_beside_steps(document: Document) -> Iterator[Problem]:
    """A customer that the challenger has had does not go back for a holdback, so the last step must leave it."""
    for loc, rollout in document.each("routes", "*", "rollout", "*"):
        watch, steps = rollout.child("watch"), rollout.child("steps")
        last = steps.elements[-1] if steps and steps.elements else None
        try:
            kept = _weight_at(watch, "holdback") if watch else 0
            if last:
                weight = _weight_at(last, "weight")
            else:
                weight = WHOLE if _text_at(rollout, "strategy") == "blue_green" else 0
        except BadValue:
            continue
        if kept > WHOLE - weight:
            message = "must be no more than the last step leaves the champion"
            if not rollout.has_variables:
                message += f", which is {units.percent((WHOLE - weight) / WHOLE)}"
            yield document.problem((*loc, "watch", "holdback"), message)


def _weight_at(step: Node, key: str) -> int:
    """The weight at this key, out of 10 000. Raises BadValue."""
    found = step.child(key)
    return units.weight(found.value) if found else 0


def _mirror_steps_without_check(document: Document) -> Iterator[Problem]:
    """Mirror steps would pass without evidence if all checks needed live traffic."""
    with_target = {loc for loc, route in document.each("routes", "*") if route.child("slo")}
    for loc, rollout in document.each("routes", "*", "rollout", "*"):
        checks, steps = rollout.child("checks"), rollout.child("steps")
        if checks is None or not checks.elements or any(map(_applies_to_copies, checks.elements)):
            continue
        if loc[:2] in with_target and "latency" not in [_text_at(c, "metric") for c in checks.elements]:
            continue  # the target is a check of its own, with max
        mirrors = [step.child("mirror") for step in steps.elements] if steps else []
        if any(mirrors) or (steps is None and _text_at(rollout, "strategy") == "shadow"):
            message = (
                "mirror steps need a check that mirrored requests can answer, such as error_rate with max"
            )
            yield document.problem((*loc, "checks"), message, at_key=True)


def _applies_to_copies(check: Node) -> bool:
    metric = _text_at(check, "metric")
    if metric == "shadow_latency":
        return "max_ratio" in check.given
    if metric in OF_LABELS:
        return metric != "mae" or "range" in check.given
    return metric not in ("kpi", "score_divergence") and any(key in check.given for key in ("max", "min"))


def _unfit_checks(document: Document) -> Iterator[Problem]:
    for loc, check in document.each("routes", "*", "rollout", "*", "checks", "*"):
        metric = _text_at(check, "metric")
        if metric in _BOUNDS_OF:
            yield from _unfit_bounds(loc, check, metric, document)
            yield from _unfit_keys(loc, check, metric, document)


def _unfit_bounds(loc: Loc, check: Node, metric: str, document: Document) -> Iterator[Problem]:
    given = [key for key in check.given if key in BOUNDS]
    fitting = [bound for bound in given if bound in _BOUNDS_OF[metric]]
    if not given:
        yield document.problem((*loc, "metric"), f"{metric} needs a bound: {listed(_BOUNDS_OF[metric])}")
    for bound in given:
        if bound not in fitting:
            message = f"{metric} takes the bound {listed(_BOUNDS_OF[metric])}, not {bound}"
            yield document.problem((*loc, bound), message, at_key=True)
    for bound in fitting[1:]:
        message = f"a check has one bound, and {fitting[0]} is given already; write a second check"
        yield document.problem((*loc, bound), message, at_key=True)


def _unfit_keys(loc: Loc, check: Node, metric: str, document: Document) -> Iterator[Problem]:
    needed = _REQUIRED_KEY.get(metric)
    if needed and needed not in check.given:
        yield document.problem((*loc, "metric"), f'{metric} needs the key "{needed}"')
    if {"for", "of"} <= set(check.given):
        yield document.problem(
            (*loc, "of"), "a check has either for or of, and for is given already", at_key=True
        )
    for key in _OTHER_KEYS:
        if key in check.given and key not in _OPTIONAL_KEYS.get(metric, ()):
            yield document.problem((*loc, key), f'{metric} does not take the key "{key}"', at_key=True)


def _unfit_ranges(document: Document) -> Iterator[Problem]:
    """A limit that no number of the range can break is a slip of the pen."""
    for loc, check in document.each("routes", "*", "rollout", "*", "checks", "*"):
        metric = _text_at(check, "metric") or ""
        if metric not in OF_FEEDBACK:
            continue
        is_event = _text_at(check, "kind") == "event"
        if is_event and "range" in check.given:
            message = "an event has the range 0 to 1; write kind: amount, or no range"
            yield document.problem((*loc, "range"), message, at_key=True)
            continue
        ends = (
            [Decimal(0), Decimal(_LARGEST[metric])]
            if metric in _LARGEST
            else _numbers_of(check.child("range"))
        )
        ends = [Decimal(0), Decimal(1)] if is_event else ends
        if len(ends) != 2:
            continue
        low, high = ends
        if low >= high:
            yield document.problem((*loc, "range"), "must be two numbers, the lower first")
            continue
        for bound in (bound for bound in check.given if bound in _BOUNDS_OF["kpi"]):
            least, most = (low - high, high - low) if bound.endswith("increase") else (low, high)
            found = _numbers_of(check.child(bound)) or _shares_of(check.child(bound))
            if found and not least < found[0] < most:
                message = f"must be between {float(least):.10g} and {float(most):.10g}, as numbers from {float(low):.10g} to {float(high):.10g} never break another limit"
                yield document.problem((*loc, bound), message)


def _numbers_of(node: Node | None) -> list[Decimal]:
    try:
        return [units.number(element.value) for element in _elements(node)]
    except BadValue:
        return []


def _shares_of(node: Node | None) -> list[Decimal]:
    try:
        return [units.share(element.value) for element in _elements(node)]
    except BadValue:
        return []


def _queries_without_server(document: Document) -> Iterator[Problem]:
    if document.root.child("prometheus", "url") is not None:
        return
    for loc, check in document.each("routes", "*", "rollout", "*", "checks", "*"):
        if _text_at(check, "metric") == "prometheus" and "query" in check.given:
            message = "a query needs a server: prometheus: {url: http://…} at the top of the file"
            yield document.problem((*loc, "metric"), message)


def _checks_without_feedback(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        if route.child("feedback") is not None:
            continue
        for at, rollout in enumerate(_elements(route.child("rollout"))):
            for index, check in enumerate(_elements(rollout.child("checks"))):
                metric = _text_at(check, "metric")
                if metric in OF_FEEDBACK:
                    message = (
                        f"{metric} needs feedback; without feedback: {{horizon: …}} on this route the check is never decided, "
                        "and holds this rollout for ever"
                    )
                    place = (*loc, "rollout", at, "checks", index, "metric")
                    yield document.problem(place, message, severity="warning")


def _checks_without_prediction(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        prediction = route.child("prediction")
        given = prediction.given if prediction else []
        others = prediction is not None and _text_at(prediction, "protocol") not in (None, "json")
        has_score = others or "score" in given
        has_any = has_score or "label" in given
        for at, rollout in enumerate(_elements(route.child("rollout"))):
            for index, check in enumerate(_elements(rollout.child("checks"))):
                metric = _text_at(check, "metric")
                if metric in OF_SCORES:
                    lacks = not has_score
                else:
                    lacks = metric in ("unreadable", *OF_LABELS) and not has_any
                if lacks:
                    either = "" if metric in OF_SCORES else " or prediction: {label: …}"
                    message = f"{metric} needs a prediction; write prediction: {{score: …}}{either}"
                    yield document.problem((*loc, "rollout", at, "checks", index, "metric"), message)


def _elements(node: Node | None) -> Sequence[Node]:
    return node.elements if node else ()


def _text_at(node: Node, *keys: str) -> str | None:
    found = node.child(*keys)
    return found.text if found else None


ROLLOUT_RULES = (
    _champion_is_challenger,
    _split_names_outside_rollout,
    _concurrent_rollouts,
    _mirror_to_split_backend,
    _steps_not_rising,
    _holdback_beside_steps,
    _mirror_steps_without_check,
    _queries_without_server,
    _checks_without_prediction,
    _checks_without_feedback,
    _unfit_checks,
    _unfit_ranges,
)
assert set(_BOUNDS_OF) == set(get_args(Metric))
