"""Routes of paths in unusual spellings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.errors import RequestRefused
from crossfade.routing.router import Router
from crossfade.routing.snapshot import Match
from tests.routing.requests import request, route, snapshot
from tests.test_paths import PATHS

ROUTES = snapshot(
    route("predict", Match(path="/predict")),
    route("models", Match(prefix="/v2/models")),
    route("versions", Match(regex="/v[0-9]+/.*")),
    route("rest", Match(prefix="/")),
)
REFUSED = "400"


def routed(target: str, **policy: object) -> str:
    """The name of the route, or the status of the refusal."""
    try:
        head = request(target)
        return Router(replace(ROUTES, **policy)).candidates(head)[0].spec.name
    except RequestRefused as refused:
        return str(refused.status)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/predict", "predict"),
        ("/%70redict?x=%70", "predict"),
        ("//predict", "predict"),
        ("/./predict", "predict"),
        ("/x/../predict", "predict"),
        ("/x/%2e%2e/predict", "predict"),
        ("/x/..//predict", "predict"),
        ("http://other.test/%70redict", "predict"),
        ("/predict/.", "rest"),
        ("/v2//models/a", "models"),
        ("/v2/models/a%2Fb/infer", "models"),
        ("/v%33/x", "versions"),
        ("/v2/models/../x", "versions"),
        ("/other?a=/../../%00%zz", "rest"),
        ("/a%2Fb", "rest"),
        ("/a%5Cb", "rest"),
        # Of other routes if a server decodes before it looks for a handler
        ("/v2/models%2Fa", REFUSED),
        ("/x/..%2Fpredict", REFUSED),
        ("/x/..%5Cpredict", REFUSED),
        ("/x%2F..%2Fpredict", REFUSED),
        ("/x\\..\\predict", REFUSED),
        ("/%2Fpredict", REFUSED),
        ("/%5cpredict", REFUSED),
        # Of another route if a server removes dot segments before it merges slashes
        ("/predict//..", "rest"),
        ("/x//../predict", REFUSED),
        ("/x/%00", REFUSED),
        ("/x%zz", REFUSED),
        ("/../predict", REFUSED),
        ("/a%2F..%2F..%2Fb", REFUSED),
    ],
)
def test_each_spelling_of_a_path_has_the_route_of_the_path(target: str, expected: str):
    assert routed(target) == expected


@pytest.mark.parametrize(
    ("target", "policy", "expected"),
    [
        ("//predict", {"merge_slashes": False}, "rest"),
        ("/x//../predict", {"merge_slashes": False}, "rest"),
        ("/x/..%2Fpredict", {"encoded_slashes": "keep"}, "rest"),
        ("/v2/models%2Fa", {"encoded_slashes": "keep"}, "versions"),
        ("/a%2Fb", {"encoded_slashes": "refuse"}, REFUSED),
        ("/a\\b", {"encoded_slashes": "refuse"}, REFUSED),
        ("/../x", {"encoded_slashes": "keep"}, REFUSED),
        ("/%00", {"encoded_slashes": "keep"}, REFUSED),
    ],
)
def test_the_policy_says_how_doubtful_paths_are_matched(
    target: str, policy: dict[str, object], expected: str
):
    assert routed(target, **policy) == expected


def test_an_asterisk_is_no_path():
    router = Router(snapshot(route("any"), route("root", Match(prefix="/"))))
    assert [r.spec.name for r in router.candidates(request("*", method="OPTIONS"))] == ["any"]


@given(PATHS)
def test_what_passes_has_the_route_of_its_first_reading(path: bytes):
    """And the request goes on with the bytes that came."""
    try:
        head = request(path.decode())
        found = Router(ROUTES).candidates(head)
    except RequestRefused as refused:
        assert refused.status == 400
        return
    assert head.start.request_line == b"POST %b HTTP/1.1\r\nHost: " % path
    plain = Router(ROUTES).path_of(head, head.start.spelled) if head.start.spelled else path
    assert [r.spec.name for r in found] == [
        r.spec.name for r in Router(ROUTES).candidates(request(plain.decode()))
    ]


@given(st.lists(st.sampled_from(["a", "predict", "v2", "models"]), min_size=1, max_size=3), st.data())
def test_equal_spellings_have_equal_routes(segments: list[str], data: st.DataObject):
    noise = st.sampled_from(["/", "//", "/./", "/%2e/", "///"])
    spelling = "".join(
        data.draw(noise) + data.draw(st.sampled_from([s, f"%{ord(s[0]):x}{s[1:]}"])) for s in segments
    )
    assert routed(spelling) == routed("/" + "/".join(segments))
