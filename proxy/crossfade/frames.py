"""Messages between processes: msgpack, each with its length before it."""

from __future__ import annotations

import struct

import msgspec

FRAME = struct.Struct(">I")
_ENCODER = msgspec.msgpack.Encoder()


def framed(message: msgspec.Struct) -> bytes:
    data = _ENCODER.encode(message)
    return FRAME.pack(len(data)) + data
