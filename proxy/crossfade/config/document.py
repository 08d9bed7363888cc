"""A YAML document as a tree of nodes with their lines and columns.

Rule: a scalar stays text until its field reads it, so YAML changes none of `no`, `012`, `1:30` and the
version 1.10. Only an unquoted null, or nothing, is None. The tree is built from YAML's events, not by its
composer, which recurses in C and can overflow the stack. Nesting and the expansion of aliases are bounded.
All problems are collected, each with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from crossfade.config.problem import Problem, Severity

Loc = tuple[int | str, ...]
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Plain(str):
    """A scalar without quotes. A field that accepts several types (a JSON match) reads its type from it."""

    __slots__ = ()


class Expanded(str):
    """A scalar whose variables are replaced. A message shows what was written, never what that stands for."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, value: str, written: str) -> Self:
        made = super().__new__(cls, value)
        made.written = written
        return made

    def __format__(self, spec: str) -> str:
        return format(self.written, spec)


class ExpandedPlain(Expanded, Plain):
    __slots__ = ()


class Mark(NamedTuple):
    """Line and column, counted from 1."""

    line: int
    column: int


class Entry(NamedTuple):
    """`written`: the key, with its variables as they are written."""

    key: Mark
    node: Node
    written: str


@dataclass(frozen=True, slots=True)
class Node:
    """`count` is the number of nodes in this subtree, `height` its number of levels, with aliases expanded.

    `has_variables`: in this subtree, its keys included. `span`: of a scalar in the text, its quotes included.
    """

    mark: Mark
    value: str | dict[str, Entry] | list[Node] | None
    count: int = 1
    height: int = 1
    has_variables: bool = False
    span: tuple[int, int] = (0, 0)

    @property
    def text(self) -> str | None:
        """The scalar's text; None for a null, a mapping or a list."""
        return self.value if isinstance(self.value, str) else None

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

    def as_written(self) -> Node:
        """The same subtree with its variables as they are written."""
        value = self.value
        if not self.has_variables:
            return self
        if isinstance(value, dict):
            entries = {e.written: Entry(e.key, e.node.as_written(), e.written) for e in value.values()}
            return replace(self, value=entries, has_variables=False)
        if isinstance(value, list):
            return replace(self, value=[element.as_written() for element in value], has_variables=False)
        written = f"{value}"
        return replace(
            self, value=Plain(written) if isinstance(value, Plain) else written, has_variables=False
        )

    def scalars(self) -> Iterator[Node]:
        """Each scalar, but for keys, in the order of the file; an alias gives those of its anchor again."""
        if isinstance(self.value, dict):
            for entry in self.value.values():
                yield from entry.node.scalars()
        elif isinstance(self.value, list):
            for element in self.value:
                yield from element.scalars()
        elif self.value is not None:
            yield self


Reference = tuple[
    str, str
]  # a place as `routes[*].split`, and the scalar with its variables as it is written there


@dataclass(frozen=True, slots=True)
class Document:
    """`broken` are the places of scalars whose `${…}` could not be expanded; they get no other problem.

    `references` are all scalars with variables.
    """

    source: str
    root: Node
    problems: tuple[Problem, ...] = ()
    broken: frozenset[Mark] = frozenset()
    references: frozenset[Reference] = frozenset()

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
        # Formatted, as a suggestion may be a name that a variable stands for.
        near = None if suggestion is None else f"{suggestion}"
        return Problem(self.source, mark.line, mark.column, path, message, near, severity)

    def locate(self, loc: Loc) -> Place:
        """The place of the location, or of its nearest parent that is in the file."""
        node = self.root
        place = Place(node.mark, node.mark, (), node.has_variables)
        for part in loc:
            if isinstance(part, str) and part in node.entries:
                key, node, written = node.entries[part]
                place = Place(key, node.mark, (*place.path, written), written != part or node.has_variables)
            elif isinstance(part, int) and isinstance(node.value, list) and part < len(node.value):
                node = node.value[part]
                place = Place(node.mark, node.mark, (*place.path, part), node.has_variables)
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
    """`has_variables`: the value, or the key."""

    key: Mark
    value: Mark
    path: Loc
    has_variables: bool


def _children(loc: Loc, node: Node, part: str) -> Iterator[tuple[Loc, Node]]:
    if part == "*":
        yield from (((*loc, index), element) for index, element in enumerate(node.elements))
    elif part == "**":
        yield from (((*loc, key), entry.node) for key, entry in node.entries.items())
    elif part in node.entries:
        yield (*loc, part), node.entries[part].node


def path_text(path: Loc, any_index: bool = False) -> str:
    """`("routes", 0, "split")` → `routes[0].split`, or `routes[*].split`; a key with other characters is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += "[*]" if any_index else f"[{part}]"
        elif _BARE_KEY.fullmatch(f"{part}"):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text
