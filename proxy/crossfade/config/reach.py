"""Whether an earlier route matches every request that a later route matches.

Rule: the answer is yes only if the conditions as written prove it: prefix `/v2` covers `/v2/x` (a prefix
ends at a segment), and a missing condition covers any condition. Two different regular expressions are
not compared.
"""

from __future__ import annotations

from collections.abc import Mapping

from crossfade.config.match import MatchConfig


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
    return known is not None and _path_begins(known, str(earlier.prefix))


def _path_begins(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")


def _conditions_cover(earlier: Mapping[str, object], later: Mapping[str, object], *, wildcard: bool) -> bool:
    """Whether `later` has at least the conditions of `earlier`."""
    return all(
        name in later
        and ((wildcard and wanted == "*") or (type(wanted), wanted) == (type(later[name]), later[name]))
        for name, wanted in earlier.items()
    )
