"""What is kept of an answer while it passes to the client, for the observer. Nothing is read here.

Rule: of an answer at most LARGEST bytes are kept, and of a stream its first STREAMED bytes, with the time at
which each part came. The usual answer is complete in one part, and needs no KeptAnswer.
"""

from __future__ import annotations

from crossfade.http1.response_head import ResponseHead
from crossfade.quality.answer import RawAnswer

LARGEST = 65_536  # bytes; a larger answer is not read
STREAMED = 262_144  # bytes of an event stream
PIECES = 4096  # parts of an event stream whose times are kept


class KeptAnswer:
    def __init__(self, head: ResponseHead, asked_at: float) -> None:
        """`asked_at`: when the request was sent, by the monotonic clock."""
        self.asked_at = asked_at
        self.streams = streams(head.block.lower())
        self.limit = STREAMED if self.streams else LARGEST
        self.parts: list[bytes] = []
        self.pieces: list[tuple[int, float]] = []
        self.size = 0
        self.cut = False

    def add(self, data: bytes, now: float) -> None:
        if self.cut or not data:
            return
        if self.size + len(data) > self.limit or len(self.pieces) == PIECES:
            self.cut = True
            if not self.streams:
                self.parts.clear()
            return
        self.parts.append(data)
        self.size += len(data)
        if self.streams:
            self.pieces.append((self.size, now - self.asked_at))

    def answer(self, status: int, block: bytes, seconds: float, broken: bool) -> RawAnswer:
        if self.cut and not self.streams:
            return RawAnswer(status, block, None, seconds, True)
        return RawAnswer(status, block, b"".join(self.parts), seconds, self.cut, tuple(self.pieces), broken)


def streams(head: bytes) -> bool:
    """`head`: in small letters. An event stream, or JSON in lines (`quality.streamed` has the media types)."""
    return head.find(b"text/event-stream") >= 0 or head.find(b"ndjson") >= 0 or head.find(b"jsonl") >= 0


def whole(status: int, block: bytes, body: bytes, seconds: float) -> RawAnswer:
    """Of an answer that came in one part."""
    if len(body) > LARGEST:
        return RawAnswer(status, block, None, seconds, True)
    return RawAnswer(status, block, body, seconds)
