"""A YAML document as a tree of nodes with their lines and columns.

Rule: a scalar stays text until its field reads it, so YAML changes none of `no`, `012`, `1:30` and the
version 1.10. Only an unquoted null, or nothing, is None. The tree is built from YAML's events, not by its
composer, which recurses in C and can overflow the stack. Nesting and the expansion of aliases are bounded.
All problems are collected, each with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from crossfade.config.problem import Problem, Severity

Loc = tuple[int | str, ...]
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Plain(str):
    """A scalar without quotes. A field that accepts several types (a JSON match) reads its type from it."""

    __slots__ = ()


class Mark(NamedTuple):
    """Line and column, counted from 1."""

    line: int
    column: int


class Entry(NamedTuple):
    key: Mark
    node: Node


@dataclass(frozen=True, slots=True)
class Node:
    """`count` is the number of nodes in this subtree, `height` its number of levels, with aliases expanded."""

    mark: Mark
    value: str | dict[str, Entry] | list[Node] | None
    count: int = 1
    height: int = 1

    @property
    def text(self) -> str | None:
        """The scalar's text; None for a null, a mapping or a list."""
        return str(self.value) if isinstance(self.value, str) else None

    @property
    def entries(self) -> dict[str, Entry]:
        """The mapping's entries; none if it is not a mapping."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def given(self) -> list[str]:
        """The keys whose value is not null; a null counts as not written."""
        return [key for key, entry in self.entries.items() if entry.node.value is not None]

    @property
    def elements(self) -> list[Node]:
        """The elements of the list; a single value counts as a list of one, a null as an empty list."""
        if isinstance(self.value, list):
            return self.value
        return [] if self.value is None else [self]

    def child(self, *keys: str) -> Node | None:
        """The node at this path of keys."""
        node = self
        for key in keys:
            entry = node.entries.get(key)
            if entry is None:
                return None
            node = entry.node
        return node

    def plain(self) -> object:
        """The value as dicts, lists, text and None."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [element.plain() for element in self.value]
        return self.value


@dataclass(frozen=True, slots=True)
class Document:
    """`broken` are the places of scalars whose `${…}` could not be expanded; they get no other problem."""

    source: str
    root: Node
    problems: tuple[Problem, ...] = ()
    broken: frozenset[Mark] = frozenset()

    def problem(
        self,
        loc: Loc,
        message: str,
        suggestion: str | None = None,
        *,
        at_key: bool = False,
        severity: Severity = "error",
    ) -> Problem:
        place = self.locate(loc)
        mark = place.key if at_key else place.value
        path = path_text(place.path)
        return Problem(self.source, mark.line, mark.column, path, message, suggestion, severity)

    def locate(self, loc: Loc) -> Place:
        """The place of the location, or of its nearest parent that is in the file."""
        place = Place(self.root.mark, self.root.mark)
        node = self.root
        for part in loc:
            if isinstance(part, str) and part in node.entries:
                key, node = node.entries[part]
                place = Place(key, node.mark, (*place.path, part))
            elif isinstance(part, int) and isinstance(node.value, list) and part < len(node.value):
                node = node.value[part]
                place = Place(node.mark, node.mark, (*place.path, part))
            elif isinstance(part, str):
                break
            # Otherwise an index into a single value that counts as a list of one: the place of the value itself.
        return place

    def each(self, *pattern: str) -> Iterator[tuple[Loc, Node]]:
        """Every node that matches the pattern: `*` is any element of a list, `**` any entry of a mapping."""
        found: list[tuple[Loc, Node]] = [((), self.root)]
        for part in pattern:
            found = [below for loc, node in found for below in _children(loc, node, part)]
        yield from found


@dataclass(frozen=True, slots=True)
class Place:
    key: Mark
    value: Mark
    path: Loc = field(default=())


def _children(loc: Loc, node: Node, part: str) -> Iterator[tuple[Loc, Node]]:
    if part == "*":
        yield from (((*loc, index), element) for index, element in enumerate(node.elements))
    elif part == "**":
        yield from (((*loc, key), entry.node) for key, entry in node.entries.items())
    elif part in node.entries:
        yield (*loc, part), node.entries[part].node


def path_text(path: Loc) -> str:
    """`("routes", 0, "split")` → `routes[0].split`; a key with other characters than a name is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _BARE_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text
