"""Which fields of two JSON documents differ: by path, with `*` in place of each list index.

Rule: the order of keys never matters, that of lists does. It ends after MOST_PATHS paths and MOST_VALUES values, and looks no
deeper than DEEPEST.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from crossfade.quality.prediction import Path

MOST_PATHS: Final = 200
MOST_VALUES: Final = 100_000
DEEPEST: Final = 32
LONGEST_NAME: Final = 100  # characters of a key that are shown
ROOT: Final = "$"  # the path of the document itself


def differing(a: Any, b: Any, ignored: Iterable[Path] = ()) -> tuple[str, ...]:
    """In alphabetical order. `ignored`: paths that are not looked at, with all below them; `*` is any key or index."""
    walk = _Walk()
    walk.compare(a, b, "", tuple(path for path in ignored if path))
    return tuple(sorted(walk.found))


def below(paths: tuple[Path, ...], step: str) -> tuple[Path, ...]:
    """What is left of these paths behind one step. An empty one means that the step ends a path."""
    return tuple([path[1:] for path in paths if path and path[0] in (step, "*")])


class _Walk:
    def __init__(self) -> None:
        self.found: set[str] = set()
        self.left = MOST_VALUES

    def compare(self, a: Any, b: Any, path: str, ignored: tuple[Path, ...], depth: int = 0) -> None:
        self.left -= 1
        if self.left < 0 or len(self.found) >= MOST_PATHS:
            return
        if depth < DEEPEST and isinstance(a, dict) and isinstance(b, dict):
            self.compare_objects(a, b, path, ignored, depth + 1)
        elif depth < DEEPEST and isinstance(a, list) and isinstance(b, list):
            self.compare_lists(a, b, path, ignored, depth + 1)
        elif not _is_same(a, b):
            self.found.add(path or ROOT)

    def compare_objects(
        self, a: dict[str, Any], b: dict[str, Any], path: str, ignored: tuple[Path, ...], depth: int
    ) -> None:
        for name in sorted(a.keys() | b.keys()):
            rest = below(ignored, name) if ignored else ()
            if () in rest:
                continue
            inner = f"{path}.{name[:LONGEST_NAME]}" if path else name[:LONGEST_NAME]
            if name in a and name in b:
                self.compare(a[name], b[name], inner, rest, depth)
            elif len(self.found) < MOST_PATHS:
                self.found.add(inner)

    def compare_lists(
        self, a: list[Any], b: list[Any], path: str, ignored: tuple[Path, ...], depth: int
    ) -> None:
        inner = f"{path}.*" if path else "*"
        for index in range(max(len(a), len(b))):
            if self.left < 0 or len(self.found) >= MOST_PATHS:
                return
            rest = below(ignored, str(index)) if ignored else ()
            if () in rest:
                continue
            if index < len(a) and index < len(b):
                self.compare(a[index], b[index], inner, rest, depth)
            else:
                self.found.add(inner)
                if not ignored:
                    return


def _is_same(a: Any, b: Any) -> bool:
    """Python's True equals 1, and JSON's does not."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)
