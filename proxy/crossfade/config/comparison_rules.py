"""Rules about what compares the answers of two models: decisions, noise, segments, and the checks that read them.

Rule: as all rules do, they read the document and skip values that are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crossfade.config.document import Document, Loc, Node
from crossfade.config.keep import parquet_without_pyarrow
from crossfade.config.problem import Problem

_DECISIONS = "write prediction: {score: …, decision: …} or prediction: {label: …}"
_OF_DECISIONS = ("disagreement", "segment_divergence")
_OF_ANSWERS = ("distance", "shadow_latency")
_OF_COPIES = (*_OF_DECISIONS, *_OF_ANSWERS, "shadow_errors")


def _comparison_without_decisions(document: Document) -> Iterator[Problem]:
    """Noise and checks of pairs need answers that are read, and mirrored requests."""
    for loc, route in document.each("routes", "*"):
        prediction = route.child("prediction")
        given = prediction.given if prediction else ()
        if _is_json(prediction) and "decision" in given and "score" not in given:
            message = 'needs the key "score" too: the number that is compared with the decision'
            yield document.problem((*loc, "prediction", "decision"), message, at_key=True)
        for index, mirror in enumerate(_elements(route.child("mirror"))):
            if _has_noise(mirror) and not _reads(prediction):
                message = f"has no effect without answers that are read; {_DECISIONS}"
                place = (*loc, "mirror", index, "noise")
                yield document.problem(place, message, at_key=True, severity="warning")
        for at, rollout in enumerate(_elements(route.child("rollout"))):
            for index, check in enumerate(_elements(rollout.child("checks"))):
                if _text_at(check, "metric") in _OF_COPIES:
                    place = (*loc, "rollout", at, "checks", index, "metric")
                    yield from _unfit_check(place, check, route, rollout, document)


def _unfit_check(
    place: Loc, check: Node, route: Node, rollout: Node, document: Document
) -> Iterator[Problem]:
    """What keeps the check from ever having evidence."""
    metric, prediction = _text_at(check, "metric"), route.child("prediction")
    if metric in _OF_DECISIONS and not _decides(prediction):
        yield document.problem(place, f"{metric} needs decisions; {_DECISIONS}")
    elif metric in _OF_ANSWERS and not _reads(prediction):
        message = f"{metric} needs answers that are read; write prediction: {{score: …}} or prediction: {{protocol: auto}}"
        yield document.problem(place, message)
    elif metric == "segment_divergence" and not (prediction and "segment" in prediction.given):
        message = "segment_divergence needs segments; write segment: […] in the prediction of the route"
        yield document.problem(place, message)
    elif not _mirrors_challenger(route, rollout):
        message = "nothing is compared, since no request is mirrored to the challenger"
        yield document.problem(place, message, severity="warning")
    elif metric == "shadow_latency" and not _is_asked_twice(route, rollout):
        message = "shadow_latency needs second answers of the champion; write mirror: {to: …, sample: …, noise: …} for the challenger"
        yield document.problem(place, message)


def _is_json(prediction: Node | None) -> bool:
    return prediction is None or _text_at(prediction, "protocol") in (None, "json")


def _decides(prediction: Node | None) -> bool:
    given = prediction.given if prediction else ()
    return not _is_json(prediction) or bool({"decision", "label"} & set(given))


def _inputs_without_predictions(document: Document) -> Iterator[Problem]:
    """The observer passes inputs on with what the answers say."""
    for loc, route in document.each("routes", "*"):
        feedback = route.child("feedback")
        if feedback and _text_at(feedback, "inputs") == "true" and not _reads(route.child("prediction")):
            message = (
                "needs answers that are read; write prediction: {score: …} or prediction: {protocol: auto}"
            )
            yield document.problem((*loc, "feedback", "inputs"), message, at_key=True)


def _reads(prediction: Node | None) -> bool:
    given = prediction.given if prediction else ()
    return not _is_json(prediction) or bool({"score", "label"} & set(given))


def _has_noise(mirror: Node) -> bool:
    return _text_at(mirror, "noise") not in (None, "0", "0%")


def _is_asked_twice(route: Node, rollout: Node) -> bool:
    challenger = _text_at(rollout, "challenger")
    mirrors = _elements(route.child("mirror"))
    return any(_has_noise(mirror) for mirror in mirrors if _text_at(mirror, "to") == challenger)


def _mirrors_challenger(route: Node, rollout: Node) -> bool:
    steps, challenger = rollout.child("steps"), _text_at(rollout, "challenger")
    mirrors = [_text_at(mirror, "to") for mirror in _elements(route.child("mirror"))]
    preset = steps is None and _text_at(rollout, "strategy") == "shadow"
    return preset or challenger in mirrors or any(step.child("mirror") for step in _elements(steps))


def _elements(node: Node | None) -> Sequence[Node]:
    return node.elements if node else ()


def _text_at(node: Node, *keys: str) -> str | None:
    found = node.child(*keys)
    return found.text if found else None


def _keep_without_pairs(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        if "keep" in route.given and not _reads(route.child("prediction")):
            message = f"keeps pairs of answers, and no answer of this route is read; {_DECISIONS}"
            yield document.problem((*loc, "keep"), message, at_key=True)


COMPARISON_RULES = (
    _comparison_without_decisions,
    _keep_without_pairs,
    _inputs_without_predictions,
    parquet_without_pyarrow,
)
