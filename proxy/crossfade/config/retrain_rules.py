"""Rules about `retrain`: what belongs together in it, and what it needs of its route.

Rule: as all rules do, they read the document and skip values that are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.config.document import Document, Loc, Node
from crossfade.config.problem import Problem


def _one_way(document: Document) -> Iterator[Problem]:
    for loc, node in document.each("routes", "*", "retrain"):
        ways = [key for key in ("webhook", "command") if key in node.given]
        if len(ways) == 2:
            message = "only one of webhook and command can be given"
            yield document.problem((*loc, "command"), message, at_key=True)
        elif not ways and node.given:
            yield document.problem(loc, 'needs the key "webhook" or "command"', at_key=True)
        if "secret" in node.given and "webhook" not in node.given:
            message = "has no effect, since nothing is posted to a webhook"
            yield document.problem((*loc, "secret"), message, at_key=True, severity="warning")


def _unreachable_api(document: Document) -> Iterator[Problem]:
    """Who is told by a webhook gets a link to the rows to train with."""
    listens = document.root.child("admin", "listen")
    if listens is None or not (listens.text or "").startswith("unix:"):
        return
    for loc, node in document.each("routes", "*", "retrain"):
        if "webhook" in node.given and "api" not in node.given:
            message = (
                "nobody elsewhere reaches the unix socket of admin.listen; say by which URL in the key api"
            )
            yield document.problem((*loc, "webhook"), message, at_key=True, severity="warning")


def _routes_without_models(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        if route.child("retrain") is not None and "split" not in route.given:
            message = "has no effect, since the route has no backends"
            yield document.problem((*loc, "retrain"), message, at_key=True, severity="warning")


def _concept_drift_without_labels(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        for place, node in _occasions(loc, route):
            if node.text == "concept_drift" and route.child("feedback") is None:
                yield document.problem(place, 'concept_drift needs labels: the key "feedback" of the route')


def _occasions(loc: Loc, route: Node) -> Iterator[tuple[Loc, Node]]:
    on = route.child("retrain", "on")
    for index, node in enumerate(on.elements if on else ()):
        yield (*loc, "retrain", "on", index), node


RETRAIN_RULES = (_one_way, _unreachable_api, _routes_without_models, _concept_drift_without_labels)
