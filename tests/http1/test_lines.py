"""The caches of request lines: bounded, without credentials, and the same result a second time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crossfade.errors import RequestRefused
from crossfade.http1 import lines
from crossfade.http1.head import parse_request


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
