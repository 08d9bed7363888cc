"""Rules about mirrors: which requests may be copied.

Rule: as in `rules`: they read the document, and skip values that are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.config import units
from crossfade.config.document import Document, Loc, Node
from crossfade.config.problem import BadValue, Problem, listed

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")  # RFC 9110 section 9.2.1


def _copies_that_may_change_something(document: Document) -> Iterator[Problem]:
    """An error: a copy of a POST that books something would book it twice, and nothing would say so."""
    for loc, route in document.each("routes", "*"):
        methods = unsafe_methods(route)
        if not methods or is_true(route, "retry", "pure") or route.child("split") is None:
            continue
        mirrors = list(_elements(route, "mirror"))
        by_steps = {name: place for place, name in _mirrored_by_rollouts(loc, route)}
        for index, mirror in enumerate(mirrors):
            to = mirror.child("to")
            name = to.text if to else None
            if name and (_is_sent(mirror) or name in by_steps) and not is_true(mirror, "safe"):
                message = f"needs safe: true, or retry: {{pure: true}} on the route: {_reason(methods, name)}"
                yield document.problem((*loc, "mirror", index), message)
        named = {to.text for mirror in mirrors if (to := mirror.child("to")) is not None}
        for name, place in by_steps.items():
            if name not in named:
                message = f"needs retry: {{pure: true}} on the route, or mirror: {{to: {name}, sample: 0%, safe: true}}: {_reason(methods, name)}"
                yield document.problem(place, message, at_key=True)


def _reason(methods: str, name: str) -> str:
    return f'{methods} may change something, and "{name}" gets copies of them'


def unsafe_methods(route: Node) -> str:
    """Those requests of the route that are not safe, in words; empty if all are."""
    methods = route.child("match", "methods")
    if methods is None or not methods.elements:
        return "requests with any method"
    unsafe = [node.text for node in methods.elements if node.text and node.text not in _SAFE_METHODS]
    return f"requests with {listed(unsafe)}" if unsafe else ""


def _mirrored_by_rollouts(loc: Loc, route: Node) -> Iterator[tuple[Loc, str]]:
    """The challengers that steps mirror to, each with the place that says so."""
    for index, rollout in enumerate(_elements(route, "rollout")):
        challenger, steps, strategy = (rollout.child(key) for key in ("challenger", "steps", "strategy"))
        if challenger is None or challenger.text is None:
            continue
        place = (*loc, "rollout", index)
        if steps is None:
            if strategy is not None and strategy.text == "shadow":
                yield (*place, "strategy"), challenger.text
            continue
        for number, step in enumerate(steps.elements):
            if _weight_of(step.child("mirror"), 0):
                yield (*place, "steps", number, "mirror"), challenger.text
                break


def _is_sent(mirror: Node) -> bool:
    return _weight_of(mirror.child("sample"), 1) > 0


def _weight_of(node: Node | None, default: int) -> int:
    try:
        return default if node is None or node.value is None else units.weight(node.value)
    except BadValue:
        return 0


def is_true(node: Node, *keys: str) -> bool:
    found = node.child(*keys)
    return found is not None and found.text == "true"


def _elements(node: Node, key: str) -> list[Node]:
    found = node.child(key)
    return found.elements if found else []


MIRROR_RULES = (_copies_that_may_change_something,)
