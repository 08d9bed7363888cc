"""Conditions of a route, alone and together, and which of several routes gets the request."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.errors import RequestRefused
from crossfade.http1.request_head import RequestHead
from crossfade.routing.key import decode_json
from crossfade.routing.match import LONGEST_PATH, PathExpression, body_test, head_test
from crossfade.routing.router import Router
from crossfade.routing.snapshot import Match
from tests.routing.requests import request, route, snapshot
from tests.tries import tries


def holds(match: Match, head: RequestHead) -> bool:
    return head_test(match)(head, head.start.path)


@pytest.mark.parametrize(
    ("match", "target", "matches"),
    [
        (Match(), "/anything?at=all", True),
        (Match(path="/predict"), "/predict", True),
        (Match(path="/predict"), "/predict?x=1", True),
        (Match(path="/predict"), "/predict/", False),
        (Match(path="/predict"), "/predict/x", False),
        (Match(path="/predict"), "/Predict", False),
        (Match(path="/predict"), "http://other.test/predict", True),
        (Match(prefix="/v2"), "/v2", True),
        (Match(prefix="/v2"), "/v2/models/a/infer", True),
        (Match(prefix="/v2"), "/v2/", True),
        (Match(prefix="/v2"), "/v2?x", True),
        (Match(prefix="/v2"), "/v20", False),
        (Match(prefix="/v2"), "/v2-beta/x", False),
        (Match(prefix="/v2"), "/x/v2", False),
        (Match(prefix="/v2"), "/", False),
        (Match(prefix="/v2/"), "/v2/x", True),
        (Match(prefix="/v2/"), "/v2/", True),
        (Match(prefix="/v2/"), "/v2", False),
        (Match(prefix="/"), "/", True),
        (Match(prefix="/"), "/anything", True),
        (Match(regex=r"/v\d/predict"), "/v2/predict", True),
        (Match(regex=r"/v\d/predict"), "/v2/predict?x=1", True),
        (Match(regex=r"/v\d/predict"), "/v2/predict/", False),
        (Match(regex=r"/v\d/predict"), "/x/v2/predict", False),
        (Match(regex=r".*"), "/", True),
    ],
)
def test_a_condition_on_the_path(match, target, matches):
    assert holds(match, request(target)) is matches


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("expression", "path"),
    [
        ("(a+)+b", b"a" * 4000),
        ("(?:a|a)*b", b"a" * 4000),
        ("/.*/a/.*/b/.*/c/.*/d/", b"/a/b/c" * 1200),
        ("(?:a?){100}a{100}", b"a" * 99),
        ("(?i)(?:.*a.{60}){1,7}x", b"ab" * 4000),
    ],
)
def test_no_path_makes_an_expression_try_without_end(expression, path):
    """With a matcher that tries alternatives these take longer than anybody waits."""
    assert not PathExpression(expression).matches(path)


def test_an_expression_is_matched_with_paths_of_a_bounded_length():
    expression = PathExpression("/a*")
    assert expression.matches(b"/" + b"a" * (LONGEST_PATH - 1))
    with pytest.raises(RequestRefused) as refused:
        expression.matches(b"/" + b"a" * LONGEST_PATH)
    assert refused.value.status == 414


def test_an_expression_gives_the_same_answer_the_second_time():
    expression = PathExpression("/v[0-9]")
    assert [expression.matches(path) for path in (b"/v1", b"/vx") * 3] == [True, False] * 3


@pytest.mark.parametrize(
    ("methods", "method", "matches"),
    [
        (("POST",), "POST", True),
        (("POST",), "GET", False),
        (("POST", "PUT"), "PUT", True),
        (("POST",), "post", False),
        ((), "GET", True),
        ((), "FROB", True),
    ],
)
def test_a_condition_on_methods(methods, method, matches):
    assert holds(Match(methods=methods), request(method=method)) is matches


@pytest.mark.parametrize(
    ("condition", "fields", "matches"),
    [
        (("x-tier", "gold"), ["X-Tier: gold"], True),
        (("x-tier", "gold"), ["X-TIER:gold "], True),
        (("x-tier", "gold"), ["X-Tier: Gold"], False),
        (("x-tier", "gold"), ["X-Tier: gold2"], False),
        (("x-tier", "gold"), ["X-Tier-2: gold"], False),
        (("x-tier", "gold"), [], False),
        (("x-tier", "gold"), ["X-Tier: silver", "X-Tier: gold"], False),
        (("x-tier", "gold"), ["X-Tier: gold", "X-Tier: silver"], False),
        (("x-tier", "gold, silver"), ["X-Tier: gold", "X-Tier: silver"], True),
        (("x-tier", "*"), ["X-Tier: anything"], True),
        (("x-tier", "*"), ["X-Tier:"], True),
        (("x-tier", "*"), [], False),
        (("x-tier", "gold"), ["X-Tier: gold", "Connection: x-tier"], False),
    ],
)
def test_a_condition_on_a_header(condition, fields, matches):
    assert holds(Match(headers=(condition,)), request("/", *fields)) is matches


@pytest.mark.parametrize(
    ("wanted", "host", "matches"),
    [
        ("model.test", "model.test", True),
        ("model.test", "MODEL.test", True),
        ("Model.Test", "model.test", True),
        ("model.test", "model.test:8080", False),
        ("model.test:8080", "model.test:8080", True),
        ("model.test", "other.test", False),
        ("*", "anything", True),
    ],
)
def test_a_condition_on_the_host(wanted, host, matches):
    """RFC 9110 section 4.2.3: hosts compare without regard to case."""
    assert holds(Match(headers=(("host", wanted),)), request(host=host)) is matches


def test_the_host_of_an_absolute_target_wins():
    match = Match(headers=(("host", "other.test"),))
    assert holds(match, request("http://other.test/predict", host="model.test"))
    assert not holds(match, request("http://model.test/predict", host="other.test"))


@pytest.mark.parametrize(
    ("condition", "target", "matches"),
    [
        (("model", "a"), "/?model=a", True),
        (("model", "a"), "/?x=1&model=a&y=2", True),
        (("model", "a"), "/?model=b", False),
        (("model", "a"), "/?model=b&model=a", False),
        (("model", "a"), "/?xmodel=a", False),
        (("model", "a"), "/?Model=a", False),
        (("model", "a"), "/model=a", False),
        (("model", "a"), "/", False),
        (("model", "a=b"), "/?model=a=b", True),
        (("model", "a%20b"), "/?model=a%20b", True),
        (("model", "*"), "/?model=x", True),
        (("model", "*"), "/?model=", True),
        (("model", "*"), "/?model", True),
        (("model", "*"), "/?x=model", False),
        (("model", "*"), "/", False),
    ],
)
def test_a_condition_on_a_query_parameter(condition, target, matches):
    assert holds(Match(query=(condition,)), request(target)) is matches


def test_all_conditions_must_hold():
    match = Match(
        prefix="/v2",
        methods=("POST",),
        headers=(("x-tier", "gold"), ("x-region", "*")),
        query=(("a", "1"), ("b", "*")),
    )
    whole = ("/v2/x?a=1&b=2", "X-Tier: gold", "X-Region: eu")
    assert holds(match, request(*whole))
    assert not holds(match, request(*whole, method="GET"))
    assert not holds(match, request("/v3/x?a=1&b=2", *whole[1:]))
    assert not holds(match, request("/v2/x?a=1", *whole[1:]))
    assert not holds(match, request("/v2/x?a=2&b=2", *whole[1:]))
    assert not holds(match, request(whole[0], "X-Tier: gold"))
    assert not holds(match, request(whole[0], "X-Region: eu"))


@pytest.mark.parametrize(
    ("condition", "body", "matches"),
    [
        (("model", "a"), {"model": "a"}, True),
        (("model", "a"), {"model": "b"}, False),
        (("model", "a"), {"model": ["a"]}, False),
        (("model", "a"), {"model": {"a": 1}}, False),
        (("model", "a"), {}, False),
        (("model", "a"), ["model", "a"], False),
        (("model", "a"), "model", False),
        (("model", "a"), None, False),
        (("customer.tier", "gold"), {"customer": {"tier": "gold"}}, True),
        (("customer.tier", "gold"), {"customer": {"tier": "tin"}}, False),
        (("customer.tier", "gold"), {"customer": "gold"}, False),
        (("customer.tier", "gold"), {"customer": [{"tier": "gold"}]}, False),
        (("customer.tier", "gold"), {"customer.tier": "gold"}, False),
        (("n", 1), {"n": 1}, True),
        (("n", 1), {"n": 1.0}, True),
        (("n", 1.5), {"n": 1.5}, True),
        (("n", 1), {"n": True}, False),
        (("n", 1), {"n": "1"}, False),
        (("n", 0), {"n": False}, False),
        (("n", 0), {"n": None}, False),
        (("n", "1"), {"n": 1}, False),
        (("flag", True), {"flag": True}, True),
        (("flag", True), {"flag": 1}, False),
        (("flag", True), {"flag": "true"}, False),
        (("flag", False), {"flag": False}, True),
        (("flag", False), {"flag": 0}, False),
        (("flag", False), {}, False),
    ],
)
def test_a_condition_on_a_json_field(condition, body, matches):
    test = body_test(Match(json=(condition,)))
    assert test is not None
    assert test(decode_json(json.dumps(body).encode())) is matches


def test_all_json_conditions_must_hold():
    test = body_test(Match(json=(("a", 1), ("b.c", "x"))))
    assert test is not None
    assert test({"a": 1, "b": {"c": "x"}})
    assert not test({"a": 1, "b": {"c": "y"}})
    assert not test({"a": 2, "b": {"c": "x"}})
    assert body_test(Match(path="/predict")) is None


def found(router: Router, *wanted: str, method: str = "POST") -> list[str]:
    return [r.spec.name for r in router.candidates(request(*wanted, method=method))]


def test_the_first_in_file_order_wins():
    router = Router(
        snapshot(
            route("get", Match(path="/a", methods=("GET",))),
            route("prefix", Match(prefix="/a")),
            route("exact", Match(path="/a")),
            route("rest"),
        )
    )
    assert found(router, "/a") == ["prefix"]
    assert found(router, "/a", method="GET") == ["get"]
    assert found(router, "/a/b") == ["prefix"]
    assert found(router, "/b") == ["rest"]


def test_an_exact_path_does_not_win_over_an_earlier_route():
    router = Router(snapshot(route("rest", Match(prefix="/")), route("exact", Match(path="/a"))))
    assert found(router, "/a") == ["rest"]


def test_the_first_route_without_json_conditions_is_the_last_candidate():
    router = Router(
        snapshot(
            route("a", Match(path="/p", json=(("model", "a"),))),
            route("b", Match(path="/p", json=(("model", "b"),))),
            route("any", Match(path="/p")),
            route("never", Match(path="/p")),
        )
    )
    assert found(router, "/p") == ["a", "b", "any"]
    assert [r.needs_body for r in router.routes] == [True, True, False, False]


def test_no_route_matches():
    router = Router(snapshot(route("a", Match(path="/a")), route("b", Match(path="/a", json=(("m", 1),)))))
    assert found(router, "/b") == []
    assert found(Router(snapshot()), "/a") == []


PATHS = st.sampled_from(["/", "/a", "/a/", "/a/b", "/ab", "/b", "/b/c"])
PLACES = st.one_of(
    PATHS.map(lambda p: Match(path=p)),
    PATHS.map(lambda p: Match(prefix=p)),
    st.sampled_from(["/a.*", "/[ab]", ".*b"]).map(lambda r: Match(regex=r)),
    st.just(Match()),
)
METHODS = st.lists(st.sampled_from(["GET", "POST"]), max_size=2).map(tuple)
HEADERS = st.lists(st.sampled_from([("x-a", "1"), ("x-a", "*"), ("x-b", "1")]), max_size=1).map(tuple)
CONDITIONS = st.builds(
    lambda place, methods, headers, json: replace(place, methods=methods, headers=headers, json=json),
    PLACES,
    METHODS,
    HEADERS,
    st.sampled_from([(), (), (), (("m", 1),)]),
)


@settings(max_examples=tries(150))
@given(
    st.lists(CONDITIONS, max_size=8),
    PATHS,
    st.sampled_from(["GET", "POST"]),
    st.lists(st.sampled_from(["X-A: 1", "X-A: 2", "X-B: 1"]), max_size=2),
)
def test_the_index_of_paths_finds_the_same_routes_as_a_scan(matches, target, method, fields):
    router = Router(snapshot(*[route(str(i), match) for i, match in enumerate(matches)]))
    head = request(target, *fields, method=method)
    scanned = []
    for i, match in enumerate(matches):
        if holds(match, head):
            scanned.append(str(i))
            if not match.json:
                break
    assert [r.spec.name for r in router.candidates(head)] == scanned
