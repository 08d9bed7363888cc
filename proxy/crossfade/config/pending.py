"""What the format has and this version does not act on yet.

Rule: it is all in one table, so that it shrinks as features land; whoever writes such a key is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from crossfade.config.document import Document, Node
from crossfade.config.problem import Problem


def _is_set(node: Node) -> bool:
    return bool(node.elements)


def _is_other_than(*acted_on: str) -> Callable[[Node], bool]:
    return lambda node: node.text is not None and node.text not in acted_on


class Pending(NamedTuple):
    """A place (`*` is each element of a list) and which values there go without effect."""

    place: tuple[str, ...]
    idle: Callable[[Node], bool] = _is_set


PENDING = (
    Pending(("state",), lambda node: (node.text or "").startswith("redis")),
    Pending(("routes", "*", "prediction", "protocol"), _is_other_than("json")),
    Pending(("routes", "*", "prediction", "segment"), lambda node: bool(node.text or node.elements)),
    Pending(("routes", "*", "feedback")),
    Pending(
        ("routes", "*", "rollout", "*", "checks", "*", "metric"),
        _is_other_than("error_rate", "latency", "requests", "score_divergence", "disagreement", "prometheus"),
    ),
    Pending(("routes", "*", "notify")),
)


def not_acted_on(document: Document) -> Iterator[Problem]:
    for place, idle in PENDING:
        for loc, node in document.each(*place):
            if idle(node):
                # Only names are repeated: a URL may hold a password.
                what = f'"{node.text}" is ' if node.text and node.text.isidentifier() else ""
                message = f"{what}accepted, not acted on yet"
                yield document.problem(loc, message, at_key=not what, severity="warning")
