"""Upgrades: only what was validly asked for, granted in answer to this very request."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.http1.head import parse_request, parse_response
from crossfade.http1.upgrade import grants, requested

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3, and its answer
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
WEBSOCKET = (b"websocket",)
ASKING = [b"Host: h", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: " + KEY]
GRANTING = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Accept: " + ACCEPT]


def request(*lines: bytes, line: bytes = b"GET /chat HTTP/1.1"):
    return parse_request(b"\r\n".join((line, *lines, b"", b"")))


def answer(*lines: bytes):
    return parse_response(b"\r\n".join((b"HTTP/1.1 101 Switching Protocols", *lines, b"", b"")), b"GET")


@pytest.mark.parametrize(
    "lines",
    [
        ASKING,
        [b"host:h", b"connection:  keep-alive ,UPGRADE", b"upgrade:WebSocket", b"sec-websocket-key:" + KEY],
        [b"Host: h", b"Connection: keep-alive", b"Connection: Upgrade", *ASKING[2:]],
        [*ASKING[:2], b"Upgrade: h2c, websocket", *ASKING[3:]],
        [*ASKING[:2], b"Upgrade: h2c", b"Upgrade: websocket", *ASKING[3:]],
        [*ASKING, b"Content-Length: 0"],
    ],
)
def test_asked(lines: list[bytes]):
    assert requested(request(*lines), WEBSOCKET) == b"websocket"


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ([b"Host: h", *ASKING[2:]], b"GET / HTTP/1.1"),
        ([b"Host: h", b"Connection: keep-alive", *ASKING[2:]], b"GET / HTTP/1.1"),
        ([b"Host: h", b"Connection: upgraded", *ASKING[2:]], b"GET / HTTP/1.1"),
        (ASKING, b"POST / HTTP/1.1"),
        (ASKING, b"HEAD / HTTP/1.1"),
        (ASKING, b"get / HTTP/1.1"),
        (ASKING, b"GET / HTTP/1.0"),
        ([*ASKING, b"Content-Length: 1"], b"GET / HTTP/1.1"),
        ([*ASKING, b"Transfer-Encoding: chunked"], b"GET / HTTP/1.1"),
        ([*ASKING[:2], b"Upgrade: h2c", ASKING[3]], b"GET / HTTP/1.1"),
        ([*ASKING[:2], b"Upgrade: websocket/13", ASKING[3]], b"GET / HTTP/1.1"),
        ([*ASKING[:2], b"Upgrade: web socket", ASKING[3]], b"GET / HTTP/1.1"),
        ([*ASKING[:2], "Upgrade: websoc\u212aet".encode(), ASKING[3]], b"GET / HTTP/1.1"),
        ([*ASKING[:2], b"Upgrade:", ASKING[3]], b"GET / HTTP/1.1"),
        (ASKING[:3], b"GET / HTTP/1.1"),
        ([*ASKING[:3], b"Sec-WebSocket-Key: short"], b"GET / HTTP/1.1"),
        ([*ASKING[:3], b"Sec-WebSocket-Key: " + KEY + b"x"], b"GET / HTTP/1.1"),
    ],
)
def test_not_asked(lines: list[bytes], line: bytes):
    assert requested(request(*lines, line=line), WEBSOCKET) is None


def test_nothing_is_asked_where_nothing_is_allowed():
    assert requested(request(*ASKING), ()) is None


def test_another_protocol_needs_no_key():
    head = request(b"Host: h", b"Connection: upgrade", b"Upgrade: Triton-Stream")
    assert requested(head, (b"triton-stream",)) == b"triton-stream"
    assert grants(answer(b"Connection: upgrade", b"Upgrade: TRITON-stream"), head, b"triton-stream")
    assert not grants(answer(b"Connection: upgrade", b"Upgrade: websocket"), head, b"triton-stream")


@pytest.mark.parametrize(
    "lines", [GRANTING, [b"upgrade:WebSocket", b"connection:upgrade", b"sec-websocket-accept:" + ACCEPT]]
)
def test_granted(lines: list[bytes]):
    assert grants(answer(*lines), request(*ASKING), b"websocket")


@pytest.mark.parametrize(
    "lines",
    [
        [],
        GRANTING[:2],
        GRANTING[1:],
        [GRANTING[0], GRANTING[2]],
        [GRANTING[0], b"Upgrade: h2c", GRANTING[2]],
        [GRANTING[0], b"Upgrade: websocket, h2c", GRANTING[2]],
        [GRANTING[0], b"Upgrade: websocket", b"Upgrade: h2c", GRANTING[2]],
        [*GRANTING[:2], b"Sec-WebSocket-Accept: " + ACCEPT.lower()],
        [*GRANTING[:2], b"Sec-WebSocket-Accept: " + KEY],
        [*GRANTING[:2], b"X-Sec-WebSocket-Accept: " + ACCEPT],
    ],
)  # fmt: skip
def test_not_granted(lines: list[bytes]):
    assert not grants(answer(*lines), request(*ASKING), b"websocket")


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_law_the_answer_to_one_key_is_none_to_another(key: bytes, other: bytes):
    head = request(*ASKING[:3], b"Sec-WebSocket-Key: " + base64.b64encode(key))
    assert requested(head, WEBSOCKET) == b"websocket"
    digest = hashlib.sha1(base64.b64encode(other) + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    granting = answer(*GRANTING[:2], b"Sec-WebSocket-Accept: " + base64.b64encode(digest))
    assert grants(granting, head, b"websocket") == (key == other)


@pytest.mark.parametrize("value", [b"trailers", b"gzip, Trailers", b"deflate;q=0.5,trailers"])
def test_who_takes_trailers_says_so(value: bytes):
    head = request(b"Host: h", b"TE: " + value)
    assert head.takes_trailers
    assert head.block == b""


@pytest.mark.parametrize("value", [b"", b"gzip", b"trailers;q=0.5", b"xtrailers"])
def test_who_does_not_gets_none(value: bytes):
    assert not request(b"Host: h", b"TE: " + value).takes_trailers
