"""Paths into a JSON document as a tree of names, and the values at them while a scan (`json_path`) goes through the document.

Rule: of a name that an object has twice, the last one counts, as in the decoder, until the values are final.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from crossfade.errors import RequestRefused, Stage

Path = tuple[str, ...]

OBJECT: Final = 1
ARRAY: Final = 0
_UNWATCHED: Final = -1


class PathTree:
    """Paths as a tree of names. Nodes are numbered so that a node's descendants follow it, up to `last`."""

    __slots__ = ("children", "last", "longest_name", "paths", "wanted")

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(dict.fromkeys(paths))
        self.children: list[dict[str, int]] = []
        self.wanted: list[int] = []  # of each node, the index of the path that ends there, or -1
        self.last: list[int] = []
        self.longest_name = max([len(name) for path in self.paths for name in path], default=0)
        self.grow(0, list(range(len(self.paths))))

    def grow(self, depth: int, within: list[int]) -> int:
        """Add the node that the paths `within` have in common; returns its number."""
        node = len(self.children)
        names: dict[str, list[int]] = {}
        ends = -1
        for index in within:
            path = self.paths[index]
            if len(path) == depth:
                ends = index
            else:
                names.setdefault(path[depth], []).append(index)
        children: dict[str, int] = {}
        self.children.append(children)
        self.wanted.append(ends)
        self.last.append(node)
        for name, below in names.items():
            children[name] = self.grow(depth + 1, below)
        self.last[node] = len(self.children) - 1
        return node


@lru_cache(maxsize=1024)
def tree_of(paths: tuple[Path, ...]) -> PathTree:
    return PathTree(paths)


class PathValues:
    """Where the scan is among the paths, and what it has found. It is told each array, object, name and value."""

    __slots__ = (
        "final",
        "found",
        "here",
        "indexes",
        "kinds",
        "left",
        "nodes",
        "open_wanted",
        "refused_beyond",
        "repeated",
        "seen",
        "spans",
        "tree",
        "values",
    )

    def __init__(self, tree: PathTree) -> None:
        self.tree = tree
        n = len(tree.paths)
        self.values: list[Any] = [None] * n
        self.spans: list[tuple[int, int] | None] = [None] * n
        self.left = n  # paths without a value so far
        self.found = self.final = n == 0
        self.repeated = False
        self.refused_beyond = 0  # see `value`
        self.kinds = bytearray()  # of the open arrays and objects
        self.nodes: list[int] = []  # the tree's nodes of those that are on a path, from the root on
        self.indexes: list[int] = []  # of these, the index of the present item
        self.here = 0  # the node of the next value
        self.seen = bytearray(len(tree.children))
        self.open_wanted: list[tuple[int, int, int]] = []  # path, depth, start

    def value(self, path: Path) -> Any:
        """Raises RequestRefused if the path may be behind the part that was read, and `refused_beyond` says how long that is."""
        index = self.tree.paths.index(path)
        if self.refused_beyond and self.spans[index] is None:
            raise RequestRefused(
                Stage.LIMIT,
                f"The JSON field {'.'.join(path)} was not found in the first {self.refused_beyond} bytes of the body.",
            )
        return self.values[index]

    def span(self, path: Path) -> tuple[int, int] | None:
        return self.spans[self.tree.paths.index(path)]

    def is_wanted(self) -> bool:
        """Whether a path ends at the next value."""
        return self.here >= 0 and self.tree.wanted[self.here] >= 0

    def open(self, kind: int, start: int) -> None:
        """Into an array or an object."""
        here, tree = self.here, self.tree
        if here >= 0:
            if tree.wanted[here] >= 0:
                self.open_wanted.append((tree.wanted[here], len(self.kinds), start))
            if tree.children[here]:
                self.nodes.append(here)
                self.indexes.append(0)
        self.kinds.append(kind)
        self.here = _UNWATCHED
        if kind == ARRAY and len(self.nodes) == len(self.kinds):
            self.here = tree.children[here].get("0", _UNWATCHED)

    def close(self, end: int) -> None:
        self.kinds.pop()
        depth = len(self.kinds)
        if len(self.nodes) > depth:
            self.nodes.pop()
            self.indexes.pop()
        self.here = _UNWATCHED
        if self.open_wanted and self.open_wanted[-1][1] == depth:
            index, _, start = self.open_wanted.pop()
            self.find(index, None, start, end)

    def next_item(self) -> None:
        """Behind a comma in an array."""
        self.here = _UNWATCHED
        if len(self.nodes) == len(self.kinds):
            self.indexes[-1] += 1
            self.here = self.tree.children[self.nodes[-1]].get(str(self.indexes[-1]), _UNWATCHED)

    def enter(self, name: Any) -> None:
        """Behind a name of an object that is on a path."""
        tree = self.tree
        node = tree.children[self.nodes[-1]].get(name, _UNWATCHED)
        if node < 0:
            return
        if self.seen[node]:
            if self.final:
                self.repeated = True
                return
            self.forget(node)
        self.seen[node] = 1
        self.here = node

    def leave_name(self) -> None:
        """Behind a name that cannot be on a path, until `enter` says otherwise."""
        self.here = _UNWATCHED

    def forget(self, node: int) -> None:
        """The name came before in this object: the last one counts, as in the decoder."""
        for below in range(node, self.tree.last[node] + 1):
            self.seen[below] = 0
            index = self.tree.wanted[below]
            if index >= 0 and self.spans[index] is not None:
                self.values[index] = self.spans[index] = None
                self.left += 1

    def find_here(self, value: Any, start: int, end: int) -> None:
        """The next value was a string or a scalar."""
        if self.here >= 0 and not self.final:
            index = self.tree.wanted[self.here]
            if index >= 0:
                self.find(index, value, start, end)

    def find(self, index: int, value: Any, start: int, end: int) -> None:
        if not self.final:
            self.values[index], self.spans[index] = value, (start, end)
            self.left -= 1
            self.found = self.final = not self.left

    def discard(self) -> None:
        """The JSON is not valid. Values that are not final do not count."""
        if not self.final:
            self.values = [None] * len(self.values)
            self.spans = [None] * len(self.spans)
