"""Bodies: one piece or many give the same payload, end and surplus, or the same error (law 11)."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.http1.framing import (
    CHUNK_LINE_LIMIT,
    LAST_CHUNK,
    TRAILER_LIMIT,
    BrokenBody,
    ChunkedReader,
    LengthReader,
    UntilCloseReader,
    chunk,
)
from tests.tries import tries

Result = tuple[bytes, bool, bytes]  # payload, done, surplus


def read(pieces: list[bytes], reader: ChunkedReader | LengthReader | None = None) -> Result:
    """Feeds the pieces one by one; the pieces after the end of the body are added to the surplus."""
    reader = reader or ChunkedReader()
    payload = [reader.feed(pieces[0])]
    for i, piece in enumerate(pieces[1:], 1):
        if reader.done:
            return b"".join(payload), True, reader.surplus + b"".join(pieces[i:])
        payload.append(reader.feed(piece))
        assert reader.framed in (b"", chunk(payload[-1]))
    return b"".join(payload), reader.done, reader.surplus


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def split_at(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def outcome(pieces: list[bytes]) -> Result | str:
    try:
        return read(pieces)
    except BrokenBody:
        return "broken"


GOOD = {
    "nothing": (b"0\r\n\r\n", b"", b""),
    "one": (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    "two": (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", b""),
    "capital-digits": (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    "small-digits": (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    "leading-zeros": (b"0005\r\nhello\r\n000\r\n\r\n", b"hello", b""),
    "fifteen-digits": (b"000000000000005\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    "crlf-in-the-payload": (b"6\r\n\r\n0\r\n\r\r\n0\r\n\r\n", b"\r\n0\r\n\r", b""),
    "extension": (b'5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n', b"hello", b""),
    "padding-of-old-servers": (b"5  \t\r\nhello\r\n0 \r\n\r\n", b"hello", b""),
    "extension-of-the-greatest-length": (
        b"5;" + b"x" * (CHUNK_LINE_LIMIT - 4) + b"\r\nhello\r\n0\r\n\r\n",
        b"hello",
        b"",
    ),
    "trailers": (b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-B:2\r\n\r\n", b"hello", b""),
    "trailers-of-the-greatest-length": (
        b"0\r\nX: " + b"y" * (TRAILER_LIMIT - 7) + b"\r\n\r\nnext",
        b"",
        b"next",
    ),
    "trailer-that-frames": (b"5\r\nhello\r\n0\r\nX-Sum: 1\r\ncontent-LENGTH: 9\r\n\r\n", b"hello", b""),
    "trailer-of-a-coding": (b"0\r\nTransfer-Encoding:chunked\r\n\r\n", b"", b""),
    "surplus": (b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"hello", b"GET / HTTP/1.1\r\n\r\n"),
    "surplus-behind-trailers": (b"0\r\nX: 1\r\n\r\n\r\n", b"", b"\r\n"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_chunked_body_is_decoded(name):
    raw, payload, surplus = GOOD[name]
    assert read([raw]) == (payload, True, surplus)
    assert read(byte_by_byte(raw)) == (payload, True, surplus)


@pytest.mark.parametrize("name", GOOD)
def test_a_truncated_body_is_never_done(name):
    raw, payload, surplus = GOOD[name]
    whole = raw[: len(raw) - len(surplus)]
    for end in range(len(whole)):
        got, done, _ = read([whole[:end]])
        assert not done
        assert payload.startswith(got)


BAD = {
    "plus": b"+5\r\nhello\r\n",
    "minus": b"-5\r\nhello\r\n",
    "prefix": b"0x5\r\nhello\r\n",
    "underscore": b"1_0\r\n0123456789abcdef\r\n",
    "not-hexadecimal": b"g\r\nhello\r\n",
    "empty-size": b"\r\nhello\r\n",
    "arabic-digits": "٥\r\nhello\r\n".encode(),
    "fullwidth-digit": "５\r\nhello\r\n".encode(),
    "space-first": b" 5\r\nhello\r\n",
    "overflow-of-64-bits": b"10000000000000005\r\nhello\r\n",
    "sixteen-digits": b"0000000000000005\r\nhello\r\n",
    "two-sizes": b"5 5\r\nhello\r\n",
    "vertical-tab": b"5\x0b\r\nhello\r\n",
    "fraction": b"5.0\r\nhello\r\n",
    "nul-in-extension": b"5;a=\x00\r\nhello\r\n",
    "bare-cr-in-extension": b"5;a\rb\r\nhello\r\n",
    "bare-lf-in-extension": b"5;a\n0\r\n\r\n",
    "bare-lf-ends-the-size": b"5\nhello\r\n0\r\n\r\n",
    "bare-cr-ends-the-size": b"5\rhello\r\n0\r\n\r\n",
    "payload-longer-than-its-size": b"5\r\nhello!\r\n0\r\n\r\n",
    "payload-shorter-than-its-size": b"7\r\nhello\r\n0\r\n\r\n",
    "payload-ends-with-bare-lf": b"5\r\nhello\n0\r\n\r\n",
    "payload-ends-with-lf-cr": b"5\r\nhello\n\r0\r\n\r\n",
    "payload-without-end": b"5\r\nhello0\r\n\r\n",
    "line-too-long": b"5;" + b"x" * (CHUNK_LINE_LIMIT - 3) + b"\r\nhello\r\n0\r\n\r\n",
    "line-without-end": b"5;" + b"x" * CHUNK_LINE_LIMIT,
    "trailer-without-colon": b"0\r\nX-Sum\r\n\r\n",
    "trailer-folded": b"0\r\nX-Sum: 1\r\n 2\r\n\r\n",
    "trailer-with-space-before-colon": b"0\r\nX-Sum : 1\r\n\r\n",
    "trailer-with-nul": b"0\r\nX-Sum: \x00\r\n\r\n",
    "trailer-with-bare-lf": b"0\r\nX-Sum: 1\nX: 2\r\n\r\n",
    "next-request-for-a-trailer": b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "trailers-too-long": b"0\r\nX: " + b"y" * (TRAILER_LIMIT - 6) + b"\r\n\r\n",
    "trailers-without-end": b"0\r\n" + b"X: y\r\n" * TRAILER_LIMIT,
}


@pytest.mark.parametrize("name", BAD)
def test_broken_chunks_are_refused(name):
    assert outcome([BAD[name]]) == "broken"
    assert outcome(byte_by_byte(BAD[name][: 2 * TRAILER_LIMIT])) == "broken"


def test_the_first_chunk_is_returned_before_a_broken_second():
    reader = ChunkedReader()
    assert reader.feed(b"5\r\nhello\r\n") == b"hello"
    with pytest.raises(BrokenBody):
        reader.feed(b"oops\r\n")
    assert not reader.done


def test_payload_is_returned_as_it_arrives():
    reader = ChunkedReader()
    returned = [reader.feed(piece) for piece in (b"ff", b"ff\r", b"\nab", b"c", b"")]
    assert returned == [b"", b"", b"ab", b"c", b""]


def test_the_buffer_stays_within_the_limits():
    """For a client that never ends the line or the trailers."""
    reader = ChunkedReader()
    with pytest.raises(BrokenBody):
        for _ in range(TRAILER_LIMIT):
            reader.feed(b"0\r\nX: " if not reader.buffer else b"y")
            assert len(reader.buffer) <= TRAILER_LIMIT + 3
    reader = ChunkedReader()
    with pytest.raises(BrokenBody):
        for _ in range(2 * CHUNK_LINE_LIMIT):
            reader.feed(b"0")
            assert len(reader.buffer) <= CHUNK_LINE_LIMIT


PAYLOADS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
PLACES = st.lists(st.integers(0, 10_000), max_size=12)


@given(PAYLOADS, st.binary(max_size=20), PLACES)
def test_a_chunked_body_is_decoded_in_any_pieces(payloads, surplus, places):
    raw = b"".join(map(chunk, payloads)) + LAST_CHUNK + surplus
    expected = (b"".join(payloads), True, surplus)
    assert read([raw]) == expected
    assert read(split_at(raw, places)) == expected
    assert read(byte_by_byte(raw)) == expected


PIECES = st.sampled_from(
    [
        b"0\r\n",
        b"5\r\n",
        b"hello",
        b"\r\n",
        b"\r",
        b"\n",
        b";x",
        b"a=b\r\n",
        b"X: y\r\n",
        b"F" * 16,
        b"1_0\r\n",
        b" ",
    ]
)


@settings(max_examples=tries(1000))
@given(st.lists(PIECES | st.binary(max_size=3), max_size=12).map(b"".join), PLACES)
def test_any_bytes_in_any_pieces_give_the_same_outcome(raw, places):
    whole = outcome([raw])
    assert outcome(split_at(raw, places)) == whole
    assert outcome(byte_by_byte(raw) or [b""]) == whole


@pytest.mark.parametrize("limit", [CHUNK_LINE_LIMIT, TRAILER_LIMIT])
@pytest.mark.parametrize("over", range(-6, 7))
def test_limits_are_the_same_in_any_pieces(limit, over):
    filler = b"x" * (limit + over)
    for raw in (b"0;" + filler + b"\r\n\r\n", b"0\r\nX: " + filler + b"\r\n\r\n"):
        whole = outcome([raw])
        assert outcome(byte_by_byte(raw)) == whole
        assert outcome([raw[:-1], raw[-1:]]) == whole
        assert outcome([raw[:-3], raw[-3:]]) == whole


@pytest.mark.parametrize(
    ("data", "raw"), [(b"a", b"1\r\na\r\n"), (b"x" * 255, b"ff\r\n" + b"x" * 255 + b"\r\n")]
)
def test_chunk(data, raw):
    assert chunk(data) == raw


@pytest.mark.parametrize(
    ("length", "pieces", "result"),
    [
        (0, [b""], (b"", True, b"")),
        (0, [b"GET"], (b"", True, b"GET")),
        (5, [b"hello"], (b"hello", True, b"")),
        (5, [b"hel", b"lo"], (b"hello", True, b"")),
        (5, [b"hello world"], (b"hello", True, b" world")),
        (5, [b"hel", b"lo world"], (b"hello", True, b" world")),
        (5, [b"hell"], (b"hell", False, b"")),
        (5, [b""], (b"", False, b"")),
    ],
)
def test_a_body_of_known_length(length, pieces, result):
    assert read(pieces, LengthReader(length)) == result


def test_a_body_of_length_0_is_done_at_once():
    assert LengthReader(0).done
    assert not LengthReader(1).done


@given(st.binary(max_size=60), st.binary(max_size=20), PLACES)
def test_a_body_of_known_length_in_any_pieces(body, surplus, places):
    assert read(split_at(body + surplus, places), LengthReader(len(body))) == (body, True, surplus)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_until_close_is_never_done(pieces):
    reader = UntilCloseReader()
    assert [reader.feed(piece) for piece in pieces] == pieces
    assert not reader.done
    assert reader.surplus == b""


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 255, 256, 257, 4095, 4096, 4097, 65_535, 65_536])
def test_a_piece_that_is_one_chunk_is_read_as_in_other_pieces(size: int) -> None:
    payload = (b"ab\r\n" * size)[:size]
    event = chunk(payload)
    for first in (event, event.upper(), b"0" + event, event[:-2] + b"xx", event[:-1], event + b"\r\n"):
        data = first + LAST_CHUNK
        assert outcome([first, LAST_CHUNK]) == outcome([*byte_by_byte(data[:9]), data[9:]])
    assert read([event, event, LAST_CHUNK + b"GET"]) == (payload * 2, True, b"GET")
    reader, framed = ChunkedReader(), []
    for piece in (event, event[:3], event[3:], event, LAST_CHUNK):
        reader.feed(piece)
        framed.append(reader.framed)
    kept = event if len(event) < 4096 else b""  # a large one is not kept while the stream is idle
    assert framed == [kept, b"", b"", kept, b""]


@pytest.mark.parametrize(
    "line, allowed", [(b"1", 9999), (b"1;" + b"e" * 12, 9999), (b"1;" + b"e" * 1000, 16)]
)
def test_the_length_of_size_lines_is_bounded_by_the_payload(line: bytes, allowed: int):
    """Short extensions pass. 300 MiB of long ones around 0.3 MiB of payload do not."""
    reader = ChunkedReader()
    taken = 0
    with contextlib.suppress(BrokenBody):
        while taken < 9999:
            assert reader.feed(line + b"\r\nx\r\n") == b"x"
            taken += 1
    assert taken == allowed


def test_payload_pays_for_extensions():
    """Signatures of chunks, as object stores send them, are short beside their payload."""
    reader = ChunkedReader()
    line = b"10000;chunk-signature=" + b"a" * 64
    for _ in range(1000):
        assert len(reader.feed(line + b"\r\n" + bytes(65536) + b"\r\n")) == 65536
