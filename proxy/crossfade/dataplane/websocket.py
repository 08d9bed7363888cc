"""Frames of a WebSocket in one direction of a tunnel: where they begin and end (RFC 6455 section 5.2).

Rule: the proxy reads heads of frames, never their content. It may put a frame of its own between two frames, also
between the fragments of one message (section 5.4), and never into a frame or after a Close.
"""

from __future__ import annotations

import os
from typing import Final

PROTOCOL: Final = b"websocket"
GOING_AWAY: Final = b"\x03\xe9"  # 1001 (section 7.4.1)
CLOSE_TO_CLIENT: Final = b"\x88\x02" + GOING_AWAY
CLOSE: Final = 0x8  # opcode
LONGEST_HEAD: Final = 14
MOST_FRAMES: Final = 1000  # of one read; 256 KiB of empty ones would keep the worker for a fifth of a second


def close_to_backend() -> bytes:
    """A client masks each frame (section 5.3)."""
    mask = os.urandom(4)
    return b"\x88\x82" + mask + bytes((GOING_AWAY[0] ^ mask[0], GOING_AWAY[1] ^ mask[1]))


class Frames:
    """`has_closed`: a Close has begun, which is the last frame of its direction.

    `is_followed`: whether it is known where frames end. It is not any more after a read with very many frames.
    """

    def __init__(self) -> None:
        self.head = b""  # of a frame whose head is incomplete
        self.left = 0  # bytes of the payload of the current frame that are to come
        self.has_closed = False
        self.is_followed = True

    def is_between(self) -> bool:
        """Whether the last byte read was the last one of a frame."""
        return self.is_followed and not self.left and not self.head

    def read(self, data: bytes, only_one: bool = False) -> int:
        """Returns how many bytes were read: all, or with `only_one` up to the end of the current frame."""
        at, end, frames = 0, len(data), 0
        while at < end:
            if frames > MOST_FRAMES or not self.is_followed:
                self.is_followed = False
                return end
            if self.left:
                step = min(self.left, end - at)
                self.left -= step
                at += step
            else:
                at = self.read_head(data, at)
                frames += 1
            if only_one and self.is_between():
                break
        return at

    def read_head(self, data: bytes, at: int) -> int:
        """Returns where it goes on."""
        known = len(self.head)
        head = self.head + data[at : at + LONGEST_HEAD - known]
        size = head_size(head)
        if len(head) < size:
            self.head = head
            return at + len(head) - known
        self.head = b""
        code = head[1] & 0x7F
        self.left = code if code < 126 else int.from_bytes(head[2 : 4 if code == 126 else 10], "big")
        if head[0] & 0x0F == CLOSE:
            self.has_closed = True
        return at + size - known


def head_size(head: bytes) -> int:
    if len(head) < 2:
        return 2
    code = head[1] & 0x7F
    mask = 4 if head[1] & 0x80 else 0
    return 2 + mask + (0 if code < 126 else 2 if code == 126 else 8)
