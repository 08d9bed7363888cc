"""Trailers: harmless ones are forwarded, respelled; those that frame, route or name the client are removed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.http1.framing import ChunkedReader, chunks
from crossfade.http1.headers import CANONICAL_LINES
from crossfade.http1.trailers import NEVER_TRAILERS, trailer_fields

FORWARDED = [b"X-Sum", b"Digest", b"Server-Timing", b"ETag", b"grpc-status", b"x-crossfad", b"x-cross"]
REMOVED = [
    b"Content-Length", b"Transfer-Encoding", b"Host", b"Connection", b"TE", b"Upgrade", b"Trailer", b"Keep-Alive",
    b"Proxy-Authorization", b"Authorization", b"Cookie", b"Set-Cookie", b"WWW-Authenticate", b"Cache-Control",
    b"Expect", b"Range", b"If-Match", b"Content-Type", b"Content-Encoding", b"Content-Range", b"Location", b"Date",
    b"Vary", b"Age", b"Retry-After", b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Request-Id",
    b"traceparent", b"x-crossfade-backend", b"X-Crossfade-Error", b"x_crossfade_backend", b"Content_Length",
    b"X_Forwarded-For", b"HTTP2-Settings",
]  # fmt: skip


@pytest.mark.parametrize("name", FORWARDED)
def test_a_harmless_trailer_is_forwarded(name: bytes):
    assert trailer_fields(name + b":  1 \r\n", frozenset()) == name + b": 1\r\n"


@pytest.mark.parametrize("name", [*REMOVED, *map(bytes.upper, REMOVED), *map(bytes.lower, REMOVED)])
def test_a_forbidden_trailer_is_removed(name: bytes):
    assert trailer_fields(b"A: 1\r\n%b: 1\r\nB: 2\r\n" % name, frozenset()) == b"A: 1\r\nB: 2\r\n"


def test_a_trailer_that_connection_names_is_removed():
    """RFC 9110 section 7.6.1: any header or trailer field."""
    assert trailer_fields(b"X-A: 1\r\nX-B: 2\r\n", {b"x-a"}) == b"X-B: 2\r\n"


NAMES = st.sampled_from([*FORWARDED, *REMOVED]) | st.from_regex(rb"[A-Za-z0-9_-]{1,12}", fullmatch=True)
LINES = st.lists(st.tuples(NAMES, st.sampled_from([b"", b" ", b"\t "]), st.sampled_from([b"", b"v", b"a b"])))


@given(LINES, st.sets(st.sampled_from([b"x-sum", b"etag"])))
def test_law_forbidden_trailers_are_removed_and_all_others_forwarded(
    lines: list[tuple[bytes, bytes, bytes]], nominated: set[bytes]
):
    block = b"".join(b"%b:%b%b\r\n" % line for line in lines)
    kept = trailer_fields(block, nominated)
    assert re.fullmatch(CANONICAL_LINES, kept)
    allowed = [
        (name, value)
        for name, _, value in lines
        if name.lower() not in NEVER_TRAILERS | nominated
        and not name.lower().replace(b"_", b"-").startswith(b"x-crossfade-")
    ]
    assert kept == b"".join(b"%b: %b\r\n" % line for line in allowed)


@given(LINES.filter(bool), st.data())
def test_law_a_reader_gives_the_same_trailers_in_any_pieces(
    lines: list[tuple[bytes, bytes, bytes]], data: st.DataObject
):
    block = b"".join(b"%b:%b%b\r\n" % line for line in lines)
    raw = b"5\r\nhello\r\n0\r\n" + block + b"\r\nnext"
    cut = data.draw(st.integers(0, len(raw) - 5))
    reader = ChunkedReader({b"etag"})
    payload = reader.feed(raw[:cut]) + reader.feed(raw[cut:])
    assert (payload, reader.done, reader.surplus) == (b"hello", True, b"next")
    assert reader.trailers == trailer_fields(block, {b"etag"})


def test_a_body_without_trailers():
    reader = ChunkedReader()
    reader.feed(b"0\r\n\r\n")
    assert reader.trailers == b""


def test_trailers_are_framed_after_the_last_chunk():
    assert chunks(b"hi", True, b"X: 1\r\n") == b"2\r\nhi\r\n0\r\nX: 1\r\n\r\n"
    assert chunks(b"hi", False, b"X: 1\r\n") == b"2\r\nhi\r\n"
    assert chunks(b"", True) == b"0\r\n\r\n"
