"""Trailers: what may stand behind a body passes, spelled anew; what could frame, route or vouch does not."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossfade.http1.framing import FRAMING_TRAILER, ChunkedReader, chunks
from crossfade.http1.headers import CANONICAL_LINES
from crossfade.http1.trailers import NEVER_TRAILERS, trailer_fields

PASS = [b"X-Sum", b"Digest", b"Server-Timing", b"ETag", b"grpc-status", b"x-crossfad", b"x-cross"]
STOP = [
    b"Content-Length", b"Transfer-Encoding", b"Host", b"Connection", b"TE", b"Upgrade", b"Trailer", b"Keep-Alive",
    b"Proxy-Authorization", b"Authorization", b"Cookie", b"Set-Cookie", b"WWW-Authenticate", b"Cache-Control",
    b"Expect", b"Range", b"If-Match", b"Content-Type", b"Content-Encoding", b"Content-Range", b"Location", b"Date",
    b"Vary", b"Age", b"Retry-After", b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Request-Id",
    b"traceparent", b"x-crossfade-backend", b"X-Crossfade-Error", b"x_crossfade_backend", b"Content_Length",
    b"X_Forwarded-For", b"HTTP2-Settings",
]  # fmt: skip


@pytest.mark.parametrize("name", PASS)
def test_passes(name: bytes):
    assert trailer_fields(name + b":  1 \r\n", frozenset()) == name + b": 1\r\n"


@pytest.mark.parametrize("name", [*STOP, *map(bytes.upper, STOP), *map(bytes.lower, STOP)])
def test_stops(name: bytes):
    assert trailer_fields(b"A: 1\r\n%b: 1\r\nB: 2\r\n" % name, frozenset()) == b"A: 1\r\nB: 2\r\n"


def test_what_the_connection_field_nominates_ends_here():
    """RFC 9110 section 7.6.1: any header or trailer field."""
    assert trailer_fields(b"X-A: 1\r\nX-B: 2\r\n", {b"x-a"}) == b"X-B: 2\r\n"


NAMES = st.sampled_from([*PASS, *STOP]) | st.from_regex(rb"[A-Za-z0-9_-]{1,12}", fullmatch=True)
LINES = st.lists(st.tuples(NAMES, st.sampled_from([b"", b" ", b"\t "]), st.sampled_from([b"", b"v", b"a b"])))


@given(LINES, st.sets(st.sampled_from([b"x-sum", b"etag"])))
def test_law_nothing_that_must_stop_gets_through_and_all_else_does(
    lines: list[tuple[bytes, bytes, bytes]], nominated: set[bytes]
):
    block = b"".join(b"%b:%b%b\r\n" % line for line in lines)
    kept = trailer_fields(block, nominated)
    assert re.fullmatch(CANONICAL_LINES, kept)
    may = [
        (name, value)
        for name, _, value in lines
        if name.lower() not in NEVER_TRAILERS | nominated
        and not name.lower().replace(b"_", b"-").startswith(b"x-crossfade-")
    ]
    assert kept == b"".join(b"%b: %b\r\n" % line for line in may)


@given(LINES.filter(bool), st.data())
def test_law_a_reader_keeps_them_in_one_piece_or_in_many(
    lines: list[tuple[bytes, bytes, bytes]], data: st.DataObject
):
    block = b"".join(b"%b:%b%b\r\n" % line for line in lines)
    assume(not FRAMING_TRAILER.search(block))
    raw = b"5\r\nhello\r\n0\r\n" + block + b"\r\nnext"
    cut = data.draw(st.integers(0, len(raw) - 5))
    reader = ChunkedReader({b"etag"})
    payload = reader.feed(raw[:cut]) + reader.feed(raw[cut:])
    assert (payload, reader.done, reader.surplus) == (b"hello", True, b"next")
    assert reader.trailers == trailer_fields(block, {b"etag"})


def test_a_body_without_any():
    reader = ChunkedReader()
    reader.feed(b"0\r\n\r\n")
    assert reader.trailers == b""


def test_framed_behind_the_last_chunk():
    assert chunks(b"hi", True, b"X: 1\r\n") == b"2\r\nhi\r\n0\r\nX: 1\r\n\r\n"
    assert chunks(b"hi", False, b"X: 1\r\n") == b"2\r\nhi\r\n"
    assert chunks(b"", True) == b"0\r\n\r\n"
