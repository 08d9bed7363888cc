"""Response heads, in addition to the corpus: where the body ends, whether the connection is kept."""

from __future__ import annotations

import pytest

from crossfade.http1.lines import CHUNKED
from crossfade.http1.response_head import UNTIL_CLOSE, ResponseHead, parse_response, unchunked


def parsed(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", method: bytes = b"POST") -> ResponseHead:
    return parse_response(b"\r\n".join([line, *fields]) + b"\r\n\r\n", method)


def test_a_plain_head():
    head = parsed(b"Content-Type: application/json", b"Content-Length: 5")
    assert (head.status, head.reason, head.length, head.keep_alive) == (200, b" OK", 5, True)
    assert head.block == b"Content-Type: application/json\r\nContent-Length: 5\r\n"
    assert head.upgrade is None


LENGTH, CODING = [b"Content-Length: 5"], [b"Transfer-Encoding: chunked"]


@pytest.mark.parametrize(
    ("status", "method", "fields", "length"),
    [
        (b"200", b"GET", LENGTH, 5),
        (b"200", b"GET", CODING, CHUNKED),
        (b"200", b"GET", [], UNTIL_CLOSE),
        (b"500", b"POST", [b"Content-Length: 0"], 0),
        (b"200", b"HEAD", LENGTH, 0),
        (b"200", b"HEAD", CODING, 0),
        (b"200", b"HEAD", [], 0),
        (b"204", b"POST", [], 0),
        (b"204", b"POST", LENGTH, 0),
        (b"204", b"POST", CODING, 0),
        (b"304", b"GET", LENGTH, 0),
        (b"304", b"GET", CODING, 0),
        (b"304", b"GET", [], 0),
        (b"100", b"POST", [], 0),
        (b"103", b"POST", LENGTH, 0),
        (b"199", b"POST", CODING, 0),
        (b"205", b"POST", LENGTH, 5),
    ],
)
def test_length(status, method, fields, length):
    """RFC 9112 section 6.3: HEAD, 1xx, 204 and 304 have no body, whatever their fields say."""
    head = parsed(*fields, line=b"HTTP/1.1 " + status + b" x", method=method)
    assert head.length == length


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    ("status", "kept"), [(b"200", True), (b"304", True), (b"204", False), (b"101", False)]
)
def test_content_length_of_a_response_without_body(status, kept, method):
    """RFC 9110 section 8.6: HEAD and 304 state the length that a body would have; 1xx and 204 must not."""
    head = parsed(b"Content-Length: 5", line=b"HTTP/1.1 " + status + b" x", method=method)
    assert head.block == (b"Content-Length: 5\r\n" if kept else b"")


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"close"], False),
        (b"1.1", [b"Close"], False),
        (b"1.1", [b"keep-alive"], True),
        (b"1.1", [b"close", b"keep-alive"], False),
        (b"1.1", [b"keep-alive, close"], False),
        (b"1.0", [], False),
        (b"1.0", [b"Keep-Alive"], True),
        (b"1.0", [b"keep-alive", b"close"], False),
        (b"1.0", [b"close", b"keep-alive"], False),
    ],
)
def test_keep_alive(version, connection, keeps):
    fields = [b"Connection: " + value for value in connection]
    assert parsed(*fields, line=b"HTTP/" + version + b" 200 OK").keep_alive is keeps


@pytest.mark.parametrize(
    ("status", "method", "kept"),
    [(b"200", b"GET", True), (b"200", b"HEAD", False), (b"304", b"GET", False), (b"204", b"GET", False)],
)
def test_the_coding_keeps_its_place_if_a_body_follows(status, method, kept):
    coding = b"transfer-encoding: Chunked"
    head = parsed(b"A: 1", coding, b"B: 2", line=b"HTTP/1.1 " + status + b" x", method=method)
    assert head.block == (b"A: 1\r\ntransfer-encoding: Chunked\r\nB: 2\r\n" if kept else b"A: 1\r\nB: 2\r\n")
    assert unchunked(head) == b"A: 1\r\nB: 2\r\n"


def test_a_field_is_recognised_by_name_whatever_its_value():
    head = parsed(b"Connection: x-a", b"X-A: b:c", b'Proxy-Authenticate: Basic realm="a:b"', b"X-B: c:d")
    assert head.block == b"X-B: c:d\r\n"


def test_upgrade_is_read_and_not_forwarded():
    head = parsed(b"Connection: upgrade", b"Upgrade: websocket", line=b"HTTP/1.1 101 Switching Protocols")
    assert (head.status, head.upgrade, head.block) == (101, b"websocket", b"")
