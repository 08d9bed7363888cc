"""Request heads, in addition to the corpus: each attribute, the limits, and fields by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.lines import CHUNKED
from crossfade.http1.request_head import RequestHead, parse_request

TOKENS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", min_size=1, max_size=12)
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20
)


def request(*fields: bytes, line: bytes = b"POST /predict HTTP/1.1", host: bool = True) -> bytes:
    start = [line, b"Host: model.test"] if host else [line]
    return b"\r\n".join([*start, *fields]) + b"\r\n\r\n"


def parsed(*fields: bytes, line: bytes = b"POST /predict HTTP/1.1") -> RequestHead:
    return parse_request(request(*fields, line=line))


def test_a_plain_head():
    head = parsed(b"X-A: 1", line=b"GET /v2/models?name=a&b HTTP/1.1")
    assert (head.method, head.target, head.minor) == (b"GET", b"/v2/models?name=a&b", b"1")
    assert (head.path, head.query) == (b"/v2/models", b"name=a&b")
    assert head.host == b"model.test"
    assert head.block == b"X-A: 1\r\n"
    assert (head.length, head.keep_alive, head.expects_continue) == (0, True, False)
    assert (head.upgrade, head.request_id, head.traced) == (None, None, False)


def test_a_head_without_other_fields_has_an_empty_block():
    assert parsed().block == b""
    assert parsed().field(b"x-a") is None


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a", b"/a", b""),
        (b"/a?", b"/a", b""),
        (b"/a?b?c", b"/a", b"b?c"),
        (b"/a%3Fb?c", b"/a%3Fb", b"c"),
        (b"http://other.test/a/b?c=d", b"/a/b", b"c=d"),
        (b"http://other.test?c=d", b"/", b"c=d"),
        (b"http://other.test/a?b?c", b"/a", b"b?c"),
    ],
)
def test_path_and_query(target, path, query):
    head = parsed(line=b"GET " + target + b" HTTP/1.1")
    assert (head.path, head.query) == (path, query)


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([], 0),
        ([b"Content-Length: 0"], 0),
        ([b"Content-Length: 17"], 17),
        ([b"content-length:\t017 "], 17),
        ([b"Content-Length: 999999999999999999"], 10**18 - 1),
        ([b"Transfer-Encoding: chunked"], CHUNKED),
        ([b"transfer-encoding:CHUNKED "], CHUNKED),
    ],
)
def test_length(fields, length):
    assert parsed(*fields).length == length


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"keep-alive"], True),
        (b"1.1", [b"close"], False),
        (b"1.1", [b"CLOSE"], False),
        (b"1.1", [b"Keep-Alive, Close"], False),
        (b"1.1", [b"close, keep-alive"], False),
        (b"1.1", [b"close", b"keep-alive"], False),
        (b"1.1", [b"keep-alive", b"close"], False),
        (b"1.1", [b"x-other"], True),
        (b"1.1", [b""], True),
        (b"1.1", [b"closed"], True),
        (b"1.0", [], False),
        (b"1.0", [b"keep-alive"], True),
        (b"1.0", [b"Keep-Alive"], True),
        (b"1.0", [b"x-other, keep-alive"], True),
        (b"1.0", [b"close"], False),
        (b"1.0", [b"keep-alive", b"close"], False),
        (b"1.0", [b"close", b"keep-alive"], False),
    ],
)
def test_keep_alive(version, connection, keeps):
    """RFC 9112 section 9.3: `close` wins in any position; HTTP/1.0 persists only with `keep-alive`."""
    fields = [b"Connection: " + value for value in connection]
    assert parsed(*fields, line=b"GET / HTTP/" + version).keep_alive is keeps


@pytest.mark.parametrize(
    ("version", "value", "expects"),
    [(b"1.1", b"100-continue", True), (b"1.1", b"100-CONTINUE", True), (b"1.0", b"100-continue", False)],
)
def test_100_continue_is_expected_by_http_1_1_only(version, value, expects):
    """RFC 9110 section 10.1.1: an HTTP/1.0 client's expectation is ignored."""
    head = parsed(b"Expect: " + value, b"Content-Length: 1", line=b"POST / HTTP/" + version)
    assert head.expects_continue is expects
    assert head.block == b""


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"0af7651916cd43dd8448eb211c80319c", True),
        (b"req_1-a.b~c+d/e=f:g@h", True),
        (b"7", True),
        (b"a" * 128, True),
        (b"a" * 129, False),
        (b"", False),
        (b"a b", False),
        (b'a"b', False),
        (b"a,b", False),
        (b"\xe4", False),
        (b"<script>", False),
    ],
)
def test_a_request_id_is_kept_if_well_formed(value, kept):
    head = parsed(b"X-Request-ID: " + value)
    assert head.request_id == (value if kept else None)
    assert head.block == b""


def test_traceparent_is_forwarded_and_upgrade_is_not():
    trace = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    head = parsed(trace, b"Connection: Upgrade", b"Upgrade: websocket")
    assert head.traced
    assert head.upgrade == b"websocket"
    assert head.block == trace + b"\r\n"


def test_a_field_is_recognised_by_name_whatever_its_value():
    head = parsed(
        b"Connection: x-a", b"X-A: b:c", b"Keep-Alive: a:b", b"X-Forwarded-For: [::1]:80", b"X-B: c:d"
    )
    assert head.block == b"X-B: c:d\r\n"


def test_a_field_is_found_by_its_lower_case_name():
    head = parsed(
        b"X-Customer-Id: A-7", b"X-Id: 1", b"x-id: 2", b"X-Empty:", b"X-Note: X-Hidden: 3", b"Last: 9"
    )
    assert head.field(b"x-customer-id") == b"A-7"
    assert head.field(b"x-id") == b"1"
    assert head.field(b"x-empty") == b""
    assert head.field(b"last") == b"9"
    assert head.field(b"x-hidden") is None
    assert head.field(b"id") is None
    assert head.field(b"x-custom") is None
    assert head.field(b"host") is None


def test_a_field_that_is_not_forwarded_is_not_found():
    head = parsed(b"Connection: x-id", b"X-Id: 1", b"X-Forwarded-For: 10.0.0.1", b"x-crossfade-override: t")
    assert head.field(b"x-id") is None
    assert head.field(b"x-forwarded-for") is None
    assert head.field(b"x-crossfade-override") is None


@given(st.lists(st.tuples(TOKENS.map(lambda name: "x-" + name), VALUES), max_size=8))
def test_fields_are_forwarded_in_order_and_found_by_name(fields):
    lines = [b"%b: %b" % (name.encode(), value.encode("latin-1")) for name, value in fields]
    head = parse_request(request(*lines))
    removed = ("x-crossfade-", "x-request-id", "x-forwarded-")
    kept = [(n, v) for n, v in fields if not n.lower().replace("_", "-").startswith(removed)]
    expected = [b"%b: %b\r\n" % (n.encode(), v.encode("latin-1").strip(b" \t")) for n, v in kept]
    assert head.block == b"".join(expected)
    first: dict[str, bytes] = {}
    for name, value in kept:
        first.setdefault(name.lower(), value.encode("latin-1").strip(b" \t"))
    assert {name: head.field(name.encode()) for name in first} == first


@pytest.mark.parametrize(
    ("most", "count", "refused"), [(3, 3, False), (3, 4, True), (1, 1, False), (100, 101, True)]
)
def test_the_number_of_fields_is_limited(most, count, refused):
    raw = request(*[b"X-%d: 1" % i for i in range(count - 1)])
    if not refused:
        assert parse_request(raw, most).block.count(b"\r\n") == count - 1
        return
    with pytest.raises(RequestRefused) as refusal:
        parse_request(raw, most)
    assert refusal.value.status == 431
    assert refusal.value.failure.stage == Stage.LIMIT


def test_removed_fields_count_towards_the_limit():
    with pytest.raises(RequestRefused):
        parse_request(request(*[b"X-Forwarded-For: 10.0.0.1"] * 3), 3)


def test_host_keeps_its_spelling():
    assert parse_request(b"GET / HTTP/1.1\r\nHOST:Model.TEST:80\r\n\r\n").host == b"Model.TEST:80"
    assert parse_request(b"GET / HTTP/1.0\r\n\r\n").host is None


def test_a_refusal_shows_nothing_of_the_request():
    with pytest.raises(RequestRefused) as refusal:
        parsed(b"Content-Length: <script>secret</script>")
    assert "secret" not in str(refusal.value)
    assert refusal.value.failure.stage == Stage.PARSE


def test_hostile_heads_take_linear_time():
    """Each of these makes a backtracking expression slow; pytest's own time limit would end the test."""
    size = 64 * 1024
    for filler in (b"a" * size, b"a:" * size, b" \t" * size, b"a: b\r\n" * (size // 6) + b" c", b"," * size):
        for raw in (request(b"X: " + filler + b"\x00"), request(filler + b"\x00"), filler + b"\r\n\r\n"):
            with pytest.raises(RequestRefused):
                parse_request(raw)
