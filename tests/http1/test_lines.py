"""The caches of request lines: bounded, without credentials, and the same result a second time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crossfade.errors import RequestRefused
from crossfade.http1 import lines
from crossfade.http1.request_head import LastHead, parse_request
from tests.http1.laws import values_of


@pytest.fixture(autouse=True)
def empty_caches() -> Iterator[None]:
    lines.FIELDS.clear()
    lines.STARTS.clear()
    yield
    lines.FIELDS.clear()
    lines.STARTS.clear()


@pytest.mark.parametrize("name", sorted(lines.CREDENTIALS))
def test_credentials_are_not_cached(name: bytes) -> None:
    for spelled in (name, name.title(), name.upper()):
        lines.read_field(spelled + b": secret")
    assert not lines.FIELDS


def test_long_lines_are_not_cached() -> None:
    lines.read_field(b"X-A: " + b"a" * lines.KEPT_LENGTH)
    lines.read_start(b"GET /" + b"a" * lines.KEPT_LENGTH + b" HTTP/1.1")
    assert not lines.FIELDS and not lines.STARTS


def test_the_caches_are_bounded() -> None:
    for n in range(2 * lines.KEPT_LINES + 10):
        lines.read_field(b"X-A: %d" % n)
        lines.read_start(b"GET /%d HTTP/1.1" % n)
    assert 0 < len(lines.FIELDS) <= lines.KEPT_LINES
    assert 0 < len(lines.STARTS) <= lines.KEPT_LINES


def test_a_refused_line_is_not_cached() -> None:
    for _ in range(2):
        for line in (b"X-A : 1", b"Host: a b", b"Content-Length: +5", b"Transfer-Encoding: gzip", b"X\n: 1"):
            with pytest.raises(RequestRefused):
                lines.read_field(line)
    assert not lines.FIELDS


def test_a_coding_cached_from_http_1_1_is_refused_in_http_1_0() -> None:
    """The cache holds the value of a line; whether the value is allowed depends on each request."""
    fields = b"Host: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    assert parse_request(b"POST / HTTP/1.1\r\n" + fields).expects_continue
    with pytest.raises(RequestRefused):
        parse_request(b"POST / HTTP/1.0\r\n" + fields)


# ── the lines of a connection's last request ─────────────────────────────────────────────────


def head(*fields: bytes) -> bytes:
    return b"\r\n".join((b"GET / HTTP/1.1", b"Host: a", *fields, b"", b""))


def test_a_line_that_the_connection_repeats_is_read_once() -> None:
    last = LastHead()
    secret = b"Authorization: Bearer 1"
    parse_request(head(secret, b"X-A: 1"), last=last)
    before = list(last.fields)
    assert parse_request(head(secret, b"X-A: 2"), last=last).field(b"x-a") == b"2"
    assert [field is other for field, other in zip(last.fields, before, strict=True)] == [True, True, False]
    assert secret not in lines.FIELDS


def test_no_field_of_the_last_request_is_one_of_the_next() -> None:
    last = LastHead()
    parse_request(head(b"Cookie: a=1", b"X-A: 1", b"X-B: 1"), last=last)
    assert parse_request(head(b"X-A: 1"), last=last).block == b"X-A: 1\r\n"
    assert parse_request(head(), last=last).block == b""
    assert len(last.fields) == 1


def test_a_large_head_leaves_nothing_for_comparison() -> None:
    """Else each idle connection could hold a head of the largest size."""
    last = LastHead()
    parse_request(head(b"X-A: 1"), last=last)
    for n in range(90):  # nor can a row of heads, each with the long line one place before
        long = b"X-Long: " + b"a" * 3000
        parse_request(head(*[b"X-A: 1"] * (90 - n), long), last=last)
        assert sum(len(field.raw) for field in last.fields) <= 4096
    parse_request(head(b"X-A: 1", b"X-Long: " + b"a" * 4096), last=last)
    assert last.start is None and last.fields == []


def test_a_refused_head_leaves_no_line_that_was_not_read() -> None:
    last = LastHead()
    parse_request(head(b"X-A: 1", b"X-B: 1"), last=last)
    for bad in (b"X-A : 1", b"Content-Length: x"):
        for _ in range(2):
            with pytest.raises(RequestRefused):
                parse_request(head(b"X-A: 1", bad), last=last)
    assert parse_request(head(b"X-A: 1", b"X-B: 1"), last=last).block == b"X-A: 1\r\nX-B: 1\r\n"


# ── heads like the last ones but for one line ─────────────────────────────────────────────────────

USUAL = (b"Accept: */*", b"X-Id: 1", b"Content-Length: 3", b"User-Agent: a")


def learnt(place: int) -> LastHead:
    """A connection whose requests have differed in this line of USUAL."""
    last = LastHead()
    for n in (7, 8, 9, 10):
        differs = USUAL[place].partition(b":")[0] + b": %d" % n
        parse_request(head(*USUAL[:place], differs, *USUAL[place + 1 :]), last=last)
    assert last.usual is not None
    return last


def parsed(raw: bytes, last: LastHead | None, most: int = 100) -> tuple[object, ...] | int:
    try:
        return values_of(parse_request(raw, most, last))
    except RequestRefused as refusal:
        return refusal.status


LINES = (
    b"X-Id: 22", b"x-id: 2", b"Content-Length: 44", b"Content-Length: x", b"Content-Length: 1\r\nX-More: 1", b"X-Id: 1\r\nX-Id: 2",
    b"Transfer-Encoding: chunked", b"Host: b", b"Connection: close", b"X-Id : 1", b"X-Id: \r1", b"X-Id: \n1", b" folded", b"Expect: 100-continue",
    b"x-request-id: abc", b"traceparent: 00", b"Forwarded: for=a", b"Authorization: Bearer 2", b"Upgrade: websocket", b"TE: trailers", b"X-Crossfade-Mirror: 1",
)  # fmt: skip


@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("line", LINES)
def test_a_head_like_the_last_ones_says_what_it_says_alone(place: int, line: bytes) -> None:
    for at in range(len(USUAL)):
        raw = head(*USUAL[:at], line, *USUAL[at + 1 :])
        assert parsed(raw, learnt(place)) == parsed(raw, None)
    for raw in (
        head(*USUAL),
        head(*USUAL[:place], *USUAL[place + 1 :]),
        head(line, *USUAL),
        head(*USUAL, line),
    ):
        last = learnt(place)
        for _ in range(3):
            assert parsed(raw, last) == parsed(raw, None)


def test_a_head_like_the_last_ones_obeys_a_smaller_limit() -> None:
    assert parsed(head(*USUAL), learnt(1), most=4) == 431


def test_a_large_head_leaves_no_usual_one() -> None:
    last = learnt(1)
    parse_request(head(b"X-Long: " + b"a" * 4096), last=last)
    assert last.usual is None
    assert last.before == last.after == last.block_before == last.block_after == b""
