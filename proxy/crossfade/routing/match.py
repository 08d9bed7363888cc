"""Whether a route matches a request. Conditions are compiled once for each snapshot.

All conditions of a route must hold, and the first route in file order wins. Conditions on the body are
tested last, since they need the body; all others need the head only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Final

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.memory import remember
from crossfade.http1.request_head import RequestHead
from crossfade.regex import compiled
from crossfade.routing.key import json_field, query_value
from crossfade.routing.snapshot import Match

LONGEST_PATH: Final = 8192  # bytes that an expression is matched with; the head's limit is larger
_KEPT_PATHS: Final = 4096
_KEPT_LENGTH: Final = 64
# The head, and the path as it is matched: for a path that is not plain, not as it was sent.
_HeadTest = Callable[[RequestHead, bytes], bool]


def head_test(match: Match) -> _HeadTest:
    """One function for the conditions on path, method, headers and query."""
    tests: list[_HeadTest] = []
    if match.path is not None:
        wanted = match.path.encode()
        tests.append(lambda head, path: path == wanted)
    if match.prefix is not None:
        tests.append(_prefix_test(match.prefix.encode()))
    if match.regex is not None:
        expression = PathExpression(match.regex)
        tests.append(lambda head, path: expression.matches(path))
    if match.methods:
        methods = frozenset(m.encode() for m in match.methods)
        tests.append(lambda head, path: head.method in methods)
    tests += [_header_test(name.encode(), value.encode()) for name, value in match.headers]
    tests += [_query_test(name.encode(), value.encode()) for name, value in match.query]
    return reduce(_both, tests) if tests else lambda head, path: True


class PathExpression:
    """A regular expression for whole paths. Clients repeat their paths, and a look-up costs a fiftieth of a match."""

    __slots__ = ("known", "pattern")

    def __init__(self, expression: str) -> None:
        self.pattern = compiled(expression)
        self.known: dict[bytes, bool] = {}

    def matches(self, path: bytes) -> bool:
        """Raises RequestRefused (414) if the path is too long to be matched in a short time."""
        known = self.known.get(path)
        if known is not None:
            return known
        if len(path) > LONGEST_PATH:
            raise RequestRefused(Stage.LIMIT, "The path is too long.", 414)
        matches = self.pattern.fullmatch(path) is not None
        remember(self.known, path, matches, _KEPT_PATHS, _KEPT_LENGTH)
        return matches


def _both(first: _HeadTest, second: _HeadTest) -> _HeadTest:
    return lambda head, path: first(head, path) and second(head, path)


def _prefix_test(prefix: bytes) -> _HeadTest:
    """A prefix ends at a path segment: `/v2` matches `/v2` and `/v2/x`, not `/v20` (as in Gateway API)."""
    if prefix.endswith(b"/"):
        return lambda head, path: path.startswith(prefix)
    below = prefix + b"/"
    return lambda head, path: path == prefix or path.startswith(below)


def _header_test(name: bytes, value: bytes) -> _HeadTest:
    if name == b"host":
        host = value.lower()  # RFC 9110 section 4.2.3: hosts are case-insensitive
        return lambda head, path: head.host is not None and (host == b"*" or head.host.lower() == host)
    if value == b"*":
        return lambda head, path: head.field(name) is not None
    return lambda head, path: head.find_list(name, b", ") == value


def _query_test(name: bytes, value: bytes) -> _HeadTest:
    if value == b"*":
        return lambda head, path: query_value(head.query, name) is not None
    return lambda head, path: query_value(head.query, name) == value


def matched_part(match: Match) -> bytes:
    """The beginning of the path that the route has matched: what `request: {path: {prefix: …}}` of a backend replaces."""
    return (match.path or match.prefix or "").encode()


def body_test(match: Match) -> Callable[[Any], bool] | None:
    """One function of the decoded body for the conditions on JSON fields; None if there are none."""
    if not match.json:
        return None
    wanted = [(tuple(name.split(".")), value) for name, value in match.json]
    return lambda body: all(_equal(json_field(body, path), value) for path, value in wanted)


def _equal(found: Any, wanted: str | int | float | bool) -> bool:
    """Equality of JSON values: true is not 1."""
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
