"""Requests that a client has sent and the proxy has not begun: a bytearray that is used up from its front.

Rule: taking a request costs what that request is long. Python drops the front of a bytearray without moving the
rest, so a connection with many small requests in its backlog does not copy them all for each of them.
"""

from __future__ import annotations

import re
from typing import Final

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.framing import ChunkedReader, LengthReader
from crossfade.http1.incomplete import check_request

EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")
CR: Final = 0x0D
TLS_HELLO = b"\x16\x03"
PIECE: Final = 4096  # bytes given to the reader of a body at a time


def take_head(backlog: bytearray, sought: int, limit: int) -> bytes:
    """The next head; empty if it is incomplete or longer than the limit. It does not end before `sought`."""
    if backlog[0] == CR:  # RFC 9112 section 2.2: ignore empty lines before a request
        lines = EMPTY_LINES.match(backlog)
        if lines is not None:
            del backlog[: lines.end()]
            sought = 0
    end = backlog.find(b"\r\n\r\n", sought) + 4
    if end < 4 or end > limit:
        return b""
    head = bytes(backlog[:end])
    del backlog[:end]
    return head


def check_beginning(head: bytes, limit: int, max_fields: int) -> None:
    """`head` is incomplete, or longer than the limit. Raises RequestRefused if it cannot become a valid one."""
    if head[:2] == TLS_HELLO:
        raise RequestRefused(Stage.PARSE, "This port does not speak TLS.")
    check_request(head[:limit], max_fields)
    if len(head) > limit:
        if b"\r\n" in head[:limit]:
            raise RequestRefused(Stage.LIMIT, "The header fields are too large.", 431)
        raise RequestRefused(Stage.LIMIT, "The request target is too long.", 414)


def take_body(backlog: bytearray, reader: ChunkedReader | LengthReader) -> bytes:
    """The part of a body that is here. What follows the body stays. Raises BrokenBody."""
    payload: list[bytes] = []
    while backlog and not reader.done:
        piece = bytes(backlog[:PIECE])
        payload.append(reader.feed(piece))
        del backlog[: len(piece) - len(reader.surplus)]
    reader.surplus = b""
    return b"".join(payload)
