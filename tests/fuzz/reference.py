"""How parsers that share nothing with the proxy read messages: h11, and llhttp (that of Node.js) by httptools."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

LARGEST = 1 << 20
# Fields that the proxy says anew.
OWN = {b"content-length", b"transfer-encoding", b"x-request-id", b"traceparent"}


@dataclass
class Heard:
    """A message as the reference read it; of a request `target` is the target, of an answer its status."""

    method: bytes
    target: bytes
    body: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list, repr=False)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list, repr=False)

    @property
    def gist(self) -> tuple[bytes, bytes, bytes]:
        return self.method, self.target, self.body


class Refused(AssertionError):
    """The reference cannot read it."""


def next_message(raw: bytes) -> tuple[Heard | None, bytes]:
    """The first request in these bytes, and what is behind it; None if it is not whole yet. Raises Refused."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST)
    connection.receive_data(raw)
    heard = None
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                heard = Heard(event.method, event.target, fields=list(event.headers))
            elif isinstance(event, h11.Data) and heard is not None:
                heard.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and heard is not None:
                heard.trailers = list(event.headers)
                return heard, connection.trailing_data[0]
            else:
                return None, raw
    except h11.RemoteProtocolError as error:
        raise Refused(str(error)) from error


def requests_in(raw: bytes) -> tuple[list[Heard], bool]:
    """All whole requests in a client's bytes; and whether the reference gave up on what follows them."""
    found: list[Heard] = []
    while raw:
        while raw.startswith(b"\r\n"):  # RFC 9112 section 2.2, which h11 does not do
            raw = raw[2:]
        try:
            heard, raw = next_message(raw)
        except Refused:
            return found, True
        if heard is None:
            break
        found.append(heard)
    return found, False


def answer_in(raw: bytes, method: bytes, closed: bool) -> Heard | None:
    """The final answer in these bytes to a request with this method; None if it is cut short. Raises Refused."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    if closed and raw:
        connection.receive_data(b"")
    heard = None
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                heard = Heard(b"", b"%d" % event.status_code, fields=list(event.headers))
            elif isinstance(event, h11.Data) and heard is not None:
                heard.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return heard
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError as error:
        if "ConnectionClosed" in str(error) or "without sending complete" in str(error):
            return None
        raise Refused(str(error)) from error


class Llhttp:
    """Callbacks of httptools; all requests in what it is fed."""

    def __init__(self) -> None:
        self.found: list[Heard] = []
        self.open: Heard | None = None
        self.parser: Any = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.open = Heard(b"", b"")

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


def requests_by_llhttp(raw: bytes) -> list[Heard] | None:
    """All whole requests up to where it gives up; None where it does not know a method (its list is fixed)."""
    reader = Llhttp()
    try:
        reader.parser.feed_data(raw)
    except (httptools.HttpParserInvalidMethodError, httptools.HttpParserUpgrade):
        return None
    except httptools.HttpParserError:
        pass
    return reader.found
