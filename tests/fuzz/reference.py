"""Reference parsers that share no code with the proxy: h11, and llhttp (of Node.js) through httptools."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

LARGEST = 1 << 20
FRAMING_TRAILER = re.compile(
    rb"(\r\n0+[ \t]*(?:;[^\r\n]*)?\r\n(?:[!-9;-~]+:[^\r\n]*\r\n)*?)(?i:(content-length|transfer-encoding)):"
)
SPACES = re.compile(rb"(?<=\r\n)([^\s:]+)[ \t]+:")
# Fields that the proxy writes itself.
OWN = {b"content-length", b"transfer-encoding", b"x-request-id", b"traceparent"}


@dataclass
class Parsed:
    """A message as the reference parsed it. For an answer, `target` is its status."""

    method: bytes
    target: bytes
    body: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list, repr=False)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list, repr=False)

    @property
    def identity(self) -> tuple[bytes, bytes, bytes]:
        return self.method, self.target, self.body


class Refused(AssertionError):
    """The reference refused the bytes."""


def next_message(raw: bytes) -> tuple[Parsed | None, bytes]:
    """The first request in these bytes, and the bytes after it; None if it is incomplete. Raises Refused.

    h11 reads framing fields in trailers; the proxy drops them (RFC 9110 section 6.5.1).
    """
    try:
        return read_message(raw)
    except Refused:
        renamed = raw
        while found := FRAMING_TRAILER.search(renamed):
            renamed = renamed[: found.start(2)] + b"x" * len(found[2]) + renamed[found.end(2) :]
        if renamed == raw:
            raise
        parsed, rest = read_message(renamed)
        return parsed, raw[len(raw) - len(rest) :]


def read_message(raw: bytes) -> tuple[Parsed | None, bytes]:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST)
    connection.receive_data(raw)
    parsed = None
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                parsed = Parsed(event.method, event.target, fields=list(event.headers))
            elif isinstance(event, h11.Data) and parsed is not None:
                parsed.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and parsed is not None:
                parsed.trailers = list(event.headers)
                return parsed, connection.trailing_data[0]
            else:
                return None, raw
    except h11.RemoteProtocolError as error:
        raise Refused(str(error)) from error


def requests_in(raw: bytes) -> tuple[list[Parsed], bool]:
    """All complete requests in a client's bytes, and whether the reference refused the bytes after them."""
    found: list[Parsed] = []
    while raw:
        while raw.startswith(b"\r\n"):  # RFC 9112 section 2.2; h11 does not accept them
            raw = raw[2:]
        try:
            parsed, raw = next_message(raw)
        except Refused:
            return found, True
        if parsed is None:
            break
        found.append(parsed)
    return found, False


def without_spaces(raw: bytes) -> bytes:
    """The answer as a proxy must pass it on: no whitespace before a colon in its heads (RFC 9112 section 5.1)."""
    end = raw.find(b"\r\n\r\n") + 4
    if end < 4 or not raw.startswith(b"HTTP/1."):
        return raw
    head = SPACES.sub(rb"\1:", raw[:end])
    return head + (without_spaces(raw[end:]) if raw[9:10] == b"1" else raw[end:])


def answer_in(raw: bytes, method: bytes, closed: bool) -> Parsed | None:
    """The final answer in these bytes to a request with this method; None if it is cut short. Raises Refused."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(without_spaces(raw))
    if closed and raw:
        connection.receive_data(b"")
    parsed = None
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                parsed = Parsed(b"", b"%d" % event.status_code, fields=list(event.headers))
            elif isinstance(event, h11.Data) and parsed is not None:
                parsed.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return parsed
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError as error:
        if "ConnectionClosed" in str(error) or "without sending complete" in str(error):
            return None
        raise Refused(str(error)) from error


class Llhttp:
    """Callbacks of httptools that collect the requests."""

    def __init__(self) -> None:
        self.found: list[Parsed] = []
        self.open: Parsed | None = None
        self.parser: Any = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.open = Parsed(b"", b"")

    def on_url(self, url: bytes) -> None:
        assert self.open is not None
        self.open.target += url

    def on_body(self, body: bytes) -> None:
        assert self.open is not None
        self.open.body += body

    def on_message_complete(self) -> None:
        assert self.open is not None
        self.open.method = self.parser.get_method()
        self.found.append(self.open)
        self.open = None


def requests_by_llhttp(raw: bytes) -> list[Parsed] | None:
    """All complete requests up to the first error; None if it does not know a method (its list is fixed)."""
    reader = Llhttp()
    try:
        reader.parser.feed_data(raw)
    except (httptools.HttpParserInvalidMethodError, httptools.HttpParserUpgrade):
        return None
    except httptools.HttpParserError:
        pass
    return reader.found
