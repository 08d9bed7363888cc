"""Laws of the answers that the proxy makes itself: no request leads a browser to another host, or opens a route to its page."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.errors import RequestRefused
from crossfade.http1.response_head import parse_response
from crossfade.routing.own_answers import AnswerFields, CompiledAnswer, CompiledCors
from crossfade.routing.snapshot import Cors, Match, OwnAnswer
from tests.routing.requests import request, route
from tests.test_paths import PATHS

CORS = Cors(("https://app.example", "https://*.example.org:8443"), ("GET",), credentials=True)
ORIGINS = st.one_of(
    st.sampled_from(
        ["https://app.example", "https://a.example.org:8443", "https://example.org:8443", "null", "*"]
    ),
    st.lists(
        st.sampled_from(
            [
                "https://",
                "app.example",
                ".example.org:8443",
                "example.org",
                "a",
                "/",
                "@",
                ":8443",
                ".",
                "evil",
                "*",
            ]
        ),
        max_size=5,
    ).map("".join),
)
CHANGES = st.sampled_from(
    [OwnAnswer(302, prefix="/"), OwnAnswer(302, prefix="/v3"), OwnAnswer(301, path="/x")]
)


@given(PATHS, CHANGES, st.sampled_from([Match(), Match(prefix="/"), Match(prefix="/a"), Match(path="/a")]))
@example(b"/\\", OwnAnswer(302, prefix="/"), Match(prefix="/a"))
def test_a_redirect_without_a_host_stays_on_the_host(path: bytes, change: OwnAnswer, match: Match):
    try:
        head = request(path.decode())
    except RequestRefused:
        return
    target = CompiledAnswer(route("r", match), change).target(head).decode()
    assert target.startswith("/") and target[1:2] not in ("/", "\\")
    assert urlsplit(target).netloc == ""
    assert target.isprintable() and " " not in target


@given(ORIGINS)
def test_only_an_allowed_origin_is_named(origin: str):
    head = request("/x", f"Origin: {origin}")
    fields = CompiledCors(CORS).preflight(head).block.decode()
    allowed = origin == "https://app.example" or (
        origin.startswith("https://")
        and origin.endswith(".example.org:8443")
        and urlsplit(origin).hostname not in (None, "example.org", ".example.org")
        and not set(origin.removeprefix("https://").removesuffix(":8443")) & set(":/@*")
    )
    assert ("Access-Control-Allow-Origin" in fields) is allowed
    assert fields.count("Vary: Origin\r\n") == 1
    if allowed:
        assert f"Access-Control-Allow-Origin: {origin}\r\n" in fields


FIELD = st.tuples(
    st.sampled_from(["X-A", "x-a", "Server", "Vary", "Content-Type"]), st.sampled_from(["1", "b c", ""])
)


@given(st.lists(FIELD, max_size=5), st.sampled_from([None, CORS]), st.booleans())
def test_an_edited_answer_has_the_fields_that_are_set_once_and_none_that_are_removed(
    fields: list[tuple[str, str]], cors: Cors | None, chunked: bool
):
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 2"
    raw = "HTTP/1.1 200 OK\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields) + framing + "\r\n\r\n"
    before = parse_response(raw.encode(), b"GET")
    block, spec = before.block, replace(route("r"), fields_set=(("x-a", "new"),), fields_removed=("server",))
    after = AnswerFields(spec, CompiledCors(cors) if cors else None).edited(before, request("/"))
    lines = after.block.decode().split("\r\n")[:-1]
    names = [line.partition(":")[0].lower() for line in lines]
    assert names.count("x-a") == 1 and "x-a: new" in lines and "server" not in names
    assert names.count("vary") == sum(n == "Vary" for n, _ in fields) + (cors is not None)
    assert framing in lines and (after.status, after.length, after.dated) == (200, before.length, False)
    assert before.block == block  # other answers share it


@pytest.mark.parametrize("host", ["models:80", "models"])
def test_a_redirect_to_https_keeps_path_and_query(host: str):
    answer = CompiledAnswer(route("r"), OwnAnswer(301, scheme="https"))
    assert answer.target(request("/a/b?c=d&e=%20", host=host)) == b"https://models/a/b?c=d&e=%20"
