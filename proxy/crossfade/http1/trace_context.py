"""The field traceparent (W3C Trace Context): whether a client's trace is recorded, and under which span."""

from __future__ import annotations

import re

from crossfade.http1.lines import TRACE
from crossfade.http1.request_head import RequestHead

# Of a version that is not known yet, the parts that version 00 has.
_PARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LINE = re.compile(rb"(?im)^traceparent:[^\r\n]*\r\n")


def sampled_parent(head: RequestHead) -> tuple[bytes, bytes] | None:
    """The ids of trace and span in its one traceparent; None where that is not valid, or not sampled."""
    given = [field.value for field in head.fields if field.kind == TRACE]
    found = _PARENT.fullmatch(given[0]) if len(given) == 1 else None
    if found is None or (found[1] == b"00" and found[5]):
        return None
    trace, span, flags = found[2], found[3], int(found[4], 16)
    if not flags & 1 or not trace.strip(b"0") or not span.strip(b"0"):
        return None
    return trace, span


def without_traceparent(block: bytes) -> bytes:
    """The lines of a head without this field, in the place of which the proxy sends its own."""
    return _LINE.sub(b"", block)
