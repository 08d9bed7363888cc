"""Upgrades: only a valid request for one, and only a 101 that grants this request."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.http1.request_head import parse_request
from crossfade.http1.response_head import parse_response
from crossfade.http1.upgrade import grants, requested

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3, with its accept value
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
WEBSOCKET = (b"websocket",)
REQUEST = [b"Host: h", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: " + KEY]
RESPONSE = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Accept: " + ACCEPT]


def request(*lines: bytes, line: bytes = b"GET /chat HTTP/1.1"):
    return parse_request(b"\r\n".join((line, *lines, b"", b"")))


def switching(*lines: bytes):
    return parse_response(b"\r\n".join((b"HTTP/1.1 101 Switching Protocols", *lines, b"", b"")), b"GET")


@pytest.mark.parametrize(
    "lines",
    [
        REQUEST,
        [b"host:h", b"connection:  keep-alive ,UPGRADE", b"upgrade:WebSocket", b"sec-websocket-key:" + KEY],
        [b"Host: h", b"Connection: keep-alive", b"Connection: Upgrade", *REQUEST[2:]],
        [*REQUEST[:2], b"Upgrade: h2c, websocket", *REQUEST[3:]],
        [*REQUEST[:2], b"Upgrade: h2c", b"Upgrade: websocket", *REQUEST[3:]],
        [*REQUEST, b"Content-Length: 0"],
    ],
)
def test_a_valid_upgrade_is_recognised(lines: list[bytes]):
    assert requested(request(*lines), WEBSOCKET) == b"websocket"


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ([b"Host: h", *REQUEST[2:]], b"GET / HTTP/1.1"),
        ([b"Host: h", b"Connection: keep-alive", *REQUEST[2:]], b"GET / HTTP/1.1"),
        ([b"Host: h", b"Connection: upgraded", *REQUEST[2:]], b"GET / HTTP/1.1"),
        (REQUEST, b"POST / HTTP/1.1"),
        (REQUEST, b"HEAD / HTTP/1.1"),
        (REQUEST, b"get / HTTP/1.1"),
        (REQUEST, b"GET / HTTP/1.0"),
        ([*REQUEST, b"Content-Length: 1"], b"GET / HTTP/1.1"),
        ([*REQUEST, b"Transfer-Encoding: chunked"], b"GET / HTTP/1.1"),
        ([*REQUEST[:2], b"Upgrade: h2c", REQUEST[3]], b"GET / HTTP/1.1"),
        ([*REQUEST[:2], b"Upgrade: websocket/13", REQUEST[3]], b"GET / HTTP/1.1"),
        ([*REQUEST[:2], b"Upgrade: web socket", REQUEST[3]], b"GET / HTTP/1.1"),
        ([*REQUEST[:2], "Upgrade: websoc\u212aet".encode(), REQUEST[3]], b"GET / HTTP/1.1"),
        ([*REQUEST[:2], b"Upgrade:", REQUEST[3]], b"GET / HTTP/1.1"),
        (REQUEST[:3], b"GET / HTTP/1.1"),
        ([*REQUEST[:3], b"Sec-WebSocket-Key: short"], b"GET / HTTP/1.1"),
        ([*REQUEST[:3], b"Sec-WebSocket-Key: " + KEY + b"x"], b"GET / HTTP/1.1"),
    ],
)
def test_an_invalid_upgrade_is_an_ordinary_request(lines: list[bytes], line: bytes):
    assert requested(request(*lines, line=line), WEBSOCKET) is None


def test_an_upgrade_that_the_route_does_not_allow_is_ignored():
    assert requested(request(*REQUEST), ()) is None


def test_a_protocol_other_than_websocket_needs_no_key():
    head = request(b"Host: h", b"Connection: upgrade", b"Upgrade: Triton-Stream")
    assert requested(head, (b"triton-stream",)) == b"triton-stream"
    assert grants(switching(b"Connection: upgrade", b"Upgrade: TRITON-stream"), head, b"triton-stream")
    assert not grants(switching(b"Connection: upgrade", b"Upgrade: websocket"), head, b"triton-stream")


@pytest.mark.parametrize(
    "lines", [RESPONSE, [b"upgrade:WebSocket", b"connection:upgrade", b"sec-websocket-accept:" + ACCEPT]]
)
def test_a_101_grants_the_upgrade(lines: list[bytes]):
    assert grants(switching(*lines), request(*REQUEST), b"websocket")


@pytest.mark.parametrize(
    "lines",
    [
        [],
        RESPONSE[:2],
        RESPONSE[1:],
        [RESPONSE[0], RESPONSE[2]],
        [RESPONSE[0], b"Upgrade: h2c", RESPONSE[2]],
        [RESPONSE[0], b"Upgrade: websocket, h2c", RESPONSE[2]],
        [RESPONSE[0], b"Upgrade: websocket", b"Upgrade: h2c", RESPONSE[2]],
        [*RESPONSE[:2], b"Sec-WebSocket-Accept: " + ACCEPT.lower()],
        [*RESPONSE[:2], b"Sec-WebSocket-Accept: " + KEY],
        [*RESPONSE[:2], b"X-Sec-WebSocket-Accept: " + ACCEPT],
    ],
)  # fmt: skip
def test_a_101_that_does_not_match_the_request_grants_nothing(lines: list[bytes]):
    assert not grants(switching(*lines), request(*REQUEST), b"websocket")


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_law_the_accept_value_of_another_key_grants_nothing(key: bytes, other: bytes):
    head = request(*REQUEST[:3], b"Sec-WebSocket-Key: " + base64.b64encode(key))
    assert requested(head, WEBSOCKET) == b"websocket"
    digest = hashlib.sha1(base64.b64encode(other) + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    response = switching(*RESPONSE[:2], b"Sec-WebSocket-Accept: " + base64.b64encode(digest))
    assert grants(response, head, b"websocket") == (key == other)


@pytest.mark.parametrize("value", [b"trailers", b"gzip, Trailers", b"deflate;q=0.5,trailers"])
def test_te_trailers_means_that_trailers_are_accepted(value: bytes):
    head = request(b"Host: h", b"TE: " + value)
    assert head.takes_trailers
    assert head.block == b""


@pytest.mark.parametrize("value", [b"", b"gzip", b"trailers;q=0.5", b"xtrailers"])
def test_te_without_trailers_means_that_none_are_accepted(value: bytes):
    assert not request(b"Host: h", b"TE: " + value).takes_trailers
