"""Keys and values that the format accepts and this version does not support yet.

Rule: they are all in one table, from which a feature removes its rows. Each use gives a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from crossfade.config.document import Document, Node
from crossfade.config.problem import Problem


def _is_set(node: Node) -> bool:
    return bool(node.elements)


_NO_EFFECT = "not supported yet, so it has no effect"


class Pending(NamedTuple):
    """A place (`*` is any element of a list), a test for the values there, and what they do."""

    place: tuple[str, ...]
    is_pending: Callable[[Node], bool] = _is_set
    effect: str = _NO_EFFECT


PENDING = (Pending(("routes", "*", "notify")),)


def not_acted_on(document: Document) -> Iterator[Problem]:
    for place, is_pending, effect in PENDING:
        for loc, node in document.each(*place):
            if is_pending(node):
                # Only identifiers are shown: a URL may hold a password.
                what = f'"{node.text}" is ' if node.text and node.text.isidentifier() else ""
                message = f"{what}{effect}"
                yield document.problem(loc, message, at_key=not what, severity="warning")
