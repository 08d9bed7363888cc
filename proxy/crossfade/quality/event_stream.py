"""Server-sent events from the bytes of a stream (WHATWG HTML, section 9.2.6).

Rule: an event counts from the empty line behind it on; what is behind the last empty line is no event yet.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MOST_EVENTS: Final = 20_000  # of a stream; those behind them are not read
MOST_LINES: Final = 100_000
_LINE: Final = re.compile(rb"([^\r\n]*+)(\r\n|\r|\n|\Z)")
_MARK: Final = b"\xef\xbb\xbf"  # U+FEFF may be the first character


class Event(NamedTuple):
    """`end`: how many bytes of the stream there are up to the end of this event."""

    kind: bytes
    data: bytes
    end: int


class Events(NamedTuple):
    """`more`: there are more than are read."""

    events: list[Event]
    more: bool


def events_of(stream: bytes) -> Events:
    """An event without data is none."""
    found: list[Event] = []
    kind = b""
    data: list[bytes] = []
    for count, line in enumerate(_LINE.finditer(stream)):
        content, line_end = line.groups()
        if not line_end:
            break  # cut in the line
        if count == MOST_LINES or len(found) == MOST_EVENTS:
            return Events(found, True)
        if not content:
            if data:
                found.append(Event(kind, b"\n".join(data), line.end()))
            kind, data = b"", []
            continue
        name, _, value = content.removeprefix(b"" if line.start() else _MARK).partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
    return Events(found, False)
