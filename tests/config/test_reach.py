from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.config import reach
from crossfade.config.match import MatchConfig
from crossfade.config.reach import EarlierRoutes, covers


class Request(NamedTuple):
    path: str
    method: str
    fields: dict[str, str]


def matches(match: MatchConfig, request: Request) -> bool:
    """A second implementation of the match, as the reference."""
    prefix = (match.prefix or "").rstrip("/")
    return (
        (match.path is None or match.path == request.path)
        and (match.prefix is None or request.path.startswith(prefix + "/") or request.path == match.prefix)
        and (match.regex is None or re.fullmatch(match.regex, request.path) is not None)
        and (not match.methods or request.method in match.methods)
        and all(n in request.fields and v in ("*", request.fields[n]) for n, v in match.headers.items())
        and all(n in request.fields and v in ("*", request.fields[n]) for n, v in match.query.items())
        and all(request.fields.get(n) == v for n, v in match.json_fields.items())
    )


PATHS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map(lambda parts: "/" + "/".join(parts))
FIELDS = st.dictionaries(st.sampled_from("xy"), st.sampled_from(["1", "2"]), max_size=2)
CONDITIONS = st.dictionaries(st.sampled_from("xy"), st.sampled_from(["1", "2", "*"]), max_size=2)
METHODS = st.lists(st.sampled_from(["GET", "POST"]), max_size=2, unique=True)


@st.composite
def match_configs(draw: st.DrawFn) -> MatchConfig:
    kind = draw(st.sampled_from(["path", "prefix", "regex", None]))
    written: dict[str, object] = {
        "methods": draw(METHODS),
        "headers": draw(CONDITIONS),
        "query": draw(CONDITIONS),
    }
    written["json"] = draw(FIELDS)
    if kind:
        slash = draw(st.sampled_from(["", "/"])) if kind == "prefix" else ""
        written[kind] = draw(PATHS) + slash
    return MatchConfig.model_validate(written)


@settings(deadline=None)
@given(match_configs(), match_configs(), PATHS, st.sampled_from(["GET", "POST"]), FIELDS)
def test_a_request_of_a_covered_route_matches_the_earlier_route(
    earlier: MatchConfig, later: MatchConfig, path: str, method: str, fields: dict[str, str]
):
    request = Request(path, method, fields)
    if covers(earlier, later) and matches(later, request):
        assert matches(earlier, request)


@settings(deadline=None)
@given(match_configs())
def test_every_match_covers_itself_and_the_empty_match_covers_all(match: MatchConfig):
    assert covers(match, match)
    assert covers(MatchConfig(), match)


@pytest.mark.parametrize(
    ("earlier", "later", "covered"),
    [
        ({}, {"path": "/x"}, True),
        ({"path": "/x"}, {}, False),
        ({"path": "/x"}, {"path": "/x"}, True),
        ({"path": "/x"}, {"path": "/y"}, False),
        ({"path": "/x"}, {"prefix": "/x"}, False),
        ({"prefix": "/x"}, {"path": "/x"}, True),
        ({"prefix": "/x"}, {"path": "/x/y"}, True),
        ({"prefix": "/x"}, {"path": "/xy"}, False),
        ({"prefix": "/x/"}, {"path": "/x"}, False),
        ({"prefix": "/x"}, {"prefix": "/x/y"}, True),
        ({"prefix": "/x/y"}, {"prefix": "/x"}, False),
        ({"prefix": "/"}, {}, True),
        ({"prefix": "/"}, {"regex": ".*"}, True),
        ({"prefix": "/x"}, {"regex": "/x"}, False),
        ({"regex": "/x"}, {"regex": "/x"}, True),
        ({"regex": ".*"}, {"path": "/x"}, False),
        ({"methods": ["GET"]}, {}, False),
        ({"methods": ["GET", "POST"]}, {"methods": ["POST"]}, True),
        ({"headers": {"a": "*"}}, {"headers": {"A": "1"}}, True),
        ({"headers": {"a": "1"}}, {"headers": {"a": "*"}}, False),
        ({"headers": {"a": "1"}}, {"headers": {"a": "1", "b": "2"}}, True),
        ({"query": {"a": "1"}}, {"query": {"a": "2"}}, False),
        ({"query": {"a": "*"}}, {"query": {"a": "2"}}, True),
        ({"json": {"a": True}}, {"json": {"a": 1}}, False),
        ({"json": {"a": "*"}}, {"json": {"a": "x"}}, False),
        ({"json": {"a": 1}}, {"json": {"a": 1, "b": 2}}, True),
    ],
)
def test_covers(earlier: dict[str, object], later: dict[str, object], covered: bool):
    assert covers(MatchConfig.model_validate(earlier), MatchConfig.model_validate(later)) is covered


@settings(deadline=None)
@given(st.lists(match_configs(), max_size=12))
def test_the_first_route_that_covers_another_is_found_without_a_comparison_with_each(
    matches: list[MatchConfig],
):
    earlier = EarlierRoutes[int]()
    for number, match in enumerate(matches):
        plain = next((n for n, known in enumerate(matches[:number]) if covers(known, match)), None)
        assert earlier.first_that_covers(match) == plain
        earlier.add(match, number)


@pytest.mark.parametrize("kind", ["path", "prefix", "regex"])
def test_routes_with_other_paths_are_not_compared(kind: str, monkeypatch: pytest.MonkeyPatch):
    """With ten thousand routes, a comparison of each with each would take minutes."""
    compared = 0

    def counting(known: MatchConfig, later: MatchConfig) -> bool:
        nonlocal compared
        compared += 1
        return covers(known, later)

    monkeypatch.setattr(reach, "covers", counting)
    earlier = EarlierRoutes[int]()
    for number in range(300):
        match = MatchConfig.model_validate({kind: f"/models/m{number}"})
        assert earlier.first_that_covers(match) is None
        earlier.add(match, number)
    assert compared == 0
