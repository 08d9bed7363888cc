"""What one endpoint gets of a request: the composition of the target, and the fields."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossfade.config.request import _REFUSED
from crossfade.errors import RequestRefused
from crossfade.http1.headers import FORWARDED, HOP_BY_HOP, PROTECTED
from crossfade.http1.lines import Start, read_start
from crossfade.http1.request_head import parse_request
from crossfade.paths import BadPath, spelled, without_dots
from crossfade.routing.rewriting import Rewriting, rewriting_of, without_dot_segments
from crossfade.routing.snapshot import Endpoint, Rewrite

BASE = "/v2/models/churn"


def rewriting(base: str = "", port: int = 8000, tls: bool = False, **keys: Any) -> Rewriting:
    return Rewriting(Rewrite(**keys), Endpoint("m", port, f"m:{port}", tls=tls, base=base))


def target(made: Rewriting, target: str, matched: str = "") -> str:
    line = made.request_line(read_start(b"POST %b HTTP/1.1" % target.encode()), matched.encode())
    method, found, rest = line.split(b" ", 2)
    assert (method, rest) == (b"POST", b"HTTP/1.1\r\nHost: ")
    return found.decode()


@pytest.mark.parametrize(
    ("base", "keys", "matched", "asked", "sent"),
    [
        ("", {}, "", "/predict?x=1", "/predict?x=1"),
        (BASE, {}, "", "/infer", f"{BASE}/infer"),
        (f"{BASE}/", {}, "", "/infer", f"{BASE}/infer"),
        (BASE, {}, "", "/", f"{BASE}/"),
        (BASE, {}, "", "/infer?a=/../b", f"{BASE}/infer?a=/../b"),
        (BASE, {}, "", "/a%2Fb//c;d?", f"{BASE}/a%2Fb//c;d?"),
        ("", {"replace": "/infer"}, "/predict", "/predict?x", "/infer?x"),
        (BASE, {"replace": "/infer"}, "/predict", "/predict/1", f"{BASE}/infer"),
        (BASE, {"replace": "/"}, "", "/predict?x", f"{BASE}?x"),
        (f"{BASE}/", {"replace": "/"}, "", "/predict", f"{BASE}/"),
        ("", {"replace": "/"}, "", "/predict", "/"),
        ("", {"prefix": "/v2"}, "/churn", "/churn/infer?x", "/v2/infer?x"),
        ("", {"prefix": "/v2/"}, "/churn/", "/churn/infer", "/v2/infer"),
        ("", {"prefix": "/v2"}, "/churn", "/churn", "/v2"),
        ("", {"prefix": "/v2"}, "/churn", "/churn/", "/v2/"),
        ("", {"prefix": "/v2"}, "", "/infer", "/v2/infer"),
        ("", {"prefix": "/"}, "/churn", "/churn/infer", "/infer"),
        ("", {"prefix": "/"}, "/churn", "/churn?x", "/?x"),
        (BASE, {"prefix": "/"}, "/churn", "/churn?x", f"{BASE}?x"),
        (BASE, {"prefix": "/x"}, "/churn", "/churn/y", f"{BASE}/x/y"),
        ("", {"regex": (r"/v1/(\w+)/(.*)", r"/\2/of/\1")}, "", "/v1/churn/infer?x", "/infer/of/churn?x"),
        (BASE, {"regex": (r"/v1/(.*)", r"/\1")}, "", "/v1/infer", f"{BASE}/infer"),
        (BASE, {"regex": (r"/v1/(.*)", r"/\1")}, "", "/v2/infer", f"{BASE}/v2/infer"),
        (BASE, {"regex": (r"/v1/(a)?(.*)", r"/\1\2")}, "", "/v1/b", f"{BASE}/b"),
        ("", {"regex": (r"/(.*)", r"/x/\1")}, "", "/%70redict/a%2fb", "/x/predict/a%2Fb"),
        # matched in the normalised spelling; what is not matched stays as it is
        ("", {"regex": (r"/v1/(.*)", r"/\1")}, "", "/%762/%61b?%61", "/%762/%61b?%61"),
        (BASE, {"regex": (r"/v1/(.*)", r"/\1")}, "", "/v2/%61%2fb", f"{BASE}/v2/%61%2fb"),
        (BASE, {"regex": (r"/v1/(.*)", r"/\1")}, "", "/%61/./../v2/%61", f"{BASE}/v2/%61"),
        ("", {"regex": (r"/%61(.*)", r"/x\1")}, "", "/%61b", "/%61b"),
        ("", {"regex": (r"/v1/(.*)", r"/\1")}, "", "/./v1/%61", "/a"),
        ("", {"regex": (r"/v1/(.*)", r"/\1")}, "", "//v1/a", "//v1/a"),
        ("", {"regex": (r"/+v1/(.*)", r"/\1")}, "", "//v1/%61//b", "/a//b"),
        # a client cannot leave the path of the endpoint
        (BASE, {}, "", "/../other/infer", f"{BASE}/other/infer"),
        (BASE, {}, "", "/a/%2e%2E/..%2Fb/.", f"{BASE}/..%2Fb/"),
        (BASE, {}, "", "/..", f"{BASE}/"),
        (BASE, {"regex": (r"/(.)a(.)", r"/\1\2/x")}, "", "/.a.", f"{BASE}/x"),
        (BASE, {"regex": (r"/v1/(.*)", r"/\1")}, "", "/v1/../../other", f"{BASE}/other"),
        (BASE, {"prefix": "/x"}, "/churn", "/churn/../../y", f"{BASE}/x/y"),
        ("", {}, "", "/a/../b", "/a/../b"),  # nothing is rewritten, so nothing is
    ],
)
def test_the_composition_of_the_target(
    base: str, keys: dict[str, Any], matched: str, asked: str, sent: str
) -> None:
    made = rewriting(base, **keys)
    assert target(made, asked, matched) == sent
    assert target(made, asked, matched) == sent, "from memory"


def test_a_request_about_the_whole_server_has_no_path() -> None:
    start = read_start(b"OPTIONS * HTTP/1.1")
    assert rewriting(BASE, replace="/infer").request_line(start, b"") == start.request_line


@pytest.mark.parametrize(
    ("keys", "host"),
    [
        ({}, None),
        ({"host": "endpoint"}, b"m:8000"),
        ({"host": "endpoint", "port": 80}, b"m"),
        ({"host": "endpoint", "port": 80, "tls": True}, b"m:80"),
        ({"host": "endpoint", "port": 443, "tls": True}, b"m"),
        ({"host": "api.example.com"}, b"api.example.com"),
    ],
)
def test_the_host(keys: dict[str, Any], host: bytes | None) -> None:
    assert rewriting(**keys).host == host


@pytest.mark.parametrize(
    ("keys", "block", "sent"),
    [
        ({}, b"A: 1\r\n", b"A: 1\r\n"),
        ({"set": (("x-a", "2"),)}, b"X-A: 1\r\nB: x-a: 1\r\nx_a: 3\r\nX-A2: 1\r\n", b"B: x-a: 1\r\nX-A2: 1\r\nx-a: 2\r\n"),
        ({"add": (("x-a", "2"),)}, b"X-A: 1\r\n", b"X-A: 1\r\nx-a: 2\r\n"),
        ({"remove": ("cookie", "x.y")}, b"Cookie: a\r\nA: 1\r\ncookie: b\r\nxzy: 1\r\nX.Y: 1\r\n", b"A: 1\r\nxzy: 1\r\n"),
        ({"set": (("k", "grün"),), "remove": ("k",)}, b"", b"k: gr\xc3\xbcn\r\n"),
    ],
)  # fmt: skip
def test_the_fields(keys: dict[str, Any], block: bytes, sent: bytes) -> None:
    head = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\n%b\r\n" % block)
    assert rewriting(**keys).block(head) == sent


def test_a_backend_without_rewriting_has_none() -> None:
    plain, based = Endpoint("m", 1, "m:1"), Endpoint("m", 1, "m:1", base="/x")
    assert rewriting_of(None, plain, None) is None
    made = rewriting_of(None, based, None)
    assert made is not None
    assert rewriting_of(None, based, made) is made
    other = rewriting_of(Rewrite(host="endpoint"), based, made)
    assert other is not made
    assert rewriting_of(None, plain, other) is None


def test_fields_that_the_proxy_handles_cannot_be_rewritten() -> None:
    assert {name.decode() for name in HOP_BY_HOP | PROTECTED | FORWARDED} <= set(_REFUSED)


PATHS = st.text("/.%2eEaZ~;=\\_-", max_size=20).map(lambda rest: "/" + rest)
CONFIGURED = st.sampled_from(["/", "/v2", "/v2/", "/a/b:predict", "//x"])
QUERIES = st.sampled_from(["", "?", "?a=b", "?/../x", "?a?b"])


@given(
    PATHS, QUERIES, st.sampled_from(["", *("/v2", "/v2/m/")]), st.none() | CONFIGURED, st.booleans(), PATHS
)
@example("/\\", "", "", "/", False, "/")  # a redirect or a model could take it for //
def test_law_the_model_gets_one_request_with_the_stated_path(
    path: str, query: str, base: str, change: str | None, whole: bool, matched: str
) -> None:
    keys: dict[str, Any] = {} if change is None else {"replace" if whole else "prefix": change}
    made = rewriting(base, **keys, set=(("authorization", "Bearer k"),), remove=("cookie",))
    try:
        start = read_start(f"POST {path}{query} HTTP/1.1".encode())
    except RequestRefused:
        return
    line = made.request_line(start, matched.encode())
    client = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\nCookie: c\r\nAuthorization: x\r\nA: 1\r\n\r\n")
    head = line + b"models\r\n" + made.block(client) + b"\r\n"
    assert head.count(b"\r\n\r\n") == 1
    got = parse_request(head)
    assert (got.method, got.host, got.query, got.length) == (b"POST", b"models", start.query, 0)
    assert got.block == b"A: 1\r\nauthorization: Bearer k\r\n"
    assert got.path.decode() == stated(path, base, keys, matched)
    if base:
        assert without_dot_segments(got.path).startswith(base.rstrip("/").encode())


def as_routes_read(path: str) -> list[str]:
    """A path that is not plain, in the usual spelling and with merged slashes; empty if it is plain, or is refused."""
    try:
        usual = spelled(path.encode())
        readings = [] if usual is None else [usual, re.sub(b"//+", b"/", usual)]
        return [without_dots(reading).decode() for reading in readings]
    except BadPath:
        return []


def behind(path: str, matched: str) -> str | None:
    """What comes behind the matched part; None where the path does not begin with it."""
    matched = matched.rstrip("/")
    rest = path.removeprefix(matched)
    return rest if path.startswith(matched) and rest[:1] in ("", "/") else None


def stated(path: str, base: str, keys: dict[str, str], matched: str) -> str:
    """docs/rewriting.md, in other words."""
    if keys.get("replace") == "/" and base:
        return base
    if "replace" in keys:
        return base.rstrip("/") + keys["replace"]
    if not base and not keys:
        return path
    readings = as_routes_read(path)
    if any(segment.lower().replace("%2e", ".") in (".", "..") for segment in path.split("/")):
        path = without_dot_segments(path.encode()).decode()
    if "prefix" in keys:
        rests = [behind(reading, matched) for reading in (*readings, path)]
        path = keys["prefix"].rstrip("/") + next((rest for rest in rests if rest is not None), path)
    return (base.rstrip("/") + path) or "/"


def test_lines_of_long_targets_are_not_kept() -> None:
    made = rewriting(BASE)
    for n in range(5000):
        made.request_line(Start(b"GET", b"/%d" % n, b"1"), b"")
    made.request_line(Start(b"GET", b"/" + b"x" * 200, b"1"), b"")
    assert 0 < len(made.lines) <= 4096
    assert all(len(line) <= 128 for line in made.lines)
