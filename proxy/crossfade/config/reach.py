"""Whether an earlier route matches every request that a later route matches.

Rule: the answer is yes only if the conditions as written prove it: prefix `/v2` covers `/v2/x` (a prefix
ends at a segment), and a missing condition covers any condition. Two different regular expressions are
not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Generic, TypeVar

from crossfade.config.match import MatchConfig, is_below

_MAX_COMPARED = 1000  # routes with the same path; a configuration has a few
T = TypeVar("T")
Place = tuple[str, str]  # the kind of the path condition, and the path


def covers(earlier: MatchConfig, later: MatchConfig) -> bool:
    """Whether every request that matches `later` matches `earlier` too."""
    return (
        _path_covers(earlier, later)
        and (not earlier.methods or (bool(later.methods) and set(later.methods) <= set(earlier.methods)))
        and _conditions_cover(earlier.headers, later.headers, wildcard=True)
        and _conditions_cover(earlier.query, later.query, wildcard=True)
        and _conditions_cover(earlier.json_fields, later.json_fields, wildcard=False)
    )


def _path_covers(earlier: MatchConfig, later: MatchConfig) -> bool:
    if earlier.path is not None:
        return earlier.path == later.path
    if earlier.regex is not None:
        return earlier.regex == later.regex
    if earlier.prefix in (None, "/"):
        return True
    known = later.path if later.path is not None else later.prefix
    return known is not None and is_below(known, str(earlier.prefix))


class EarlierRoutes(Generic[T]):
    """Finds the first route that covers a later one without a comparison with each: many routes have many paths."""

    def __init__(self) -> None:
        self.by_place: dict[Place, list[tuple[int, MatchConfig, T]]] = {}
        self.count = 0

    def add(self, condition: MatchConfig, route: T) -> None:
        self.by_place.setdefault(_place_of(condition), []).append((self.count, condition, route))
        self.count += 1

    def first_that_covers(self, later: MatchConfig) -> T | None:
        found = []
        for place in _places_that_cover(later):
            compared = islice(self.by_place.get(place, ()), _MAX_COMPARED)
            found += list(islice(((n, route) for n, known, route in compared if covers(known, later)), 1))
        return min(found, key=lambda numbered: numbered[0])[1] if found else None


def _place_of(condition: MatchConfig) -> Place:
    """By the rules of `_path_covers`, only routes of the places that follow can cover one."""
    if condition.path is not None:
        return "path", condition.path
    if condition.regex is not None:
        return "regex", str(condition.regex)
    return "prefix", (condition.prefix or "/").removesuffix("/")


def _places_that_cover(later: MatchConfig) -> Iterator[Place]:
    yield "prefix", ""
    if later.regex is not None:
        yield "regex", str(later.regex)
        return
    if later.path is not None:
        yield "path", later.path
    known = later.path if later.path is not None else later.prefix or ""
    yield from (("prefix", known[:end]) for end, letter in enumerate(known) if letter == "/" and end)
    if known.removesuffix("/") == known != "":
        yield "prefix", known


def _conditions_cover(earlier: Mapping[str, object], later: Mapping[str, object], *, wildcard: bool) -> bool:
    """Whether `later` has at least the conditions of `earlier`."""
    return all(
        name in later
        and ((wildcard and wanted == "*") or (type(wanted), wanted) == (type(later[name]), later[name]))
        for name, wanted in earlier.items()
    )
