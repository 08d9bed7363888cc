"""The binary extension of the Open Inference Protocol: tensors behind the JSON, in the order of `outputs`.

Rule: numbers are little-endian and without padding. An element of BYTES has its length before it, in four bytes.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from crossfade.quality.unreadable import SHAPE, TYPE, UTF8, Unreadable

_FORMATS: Final = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}


class PackedTensors:
    """What is behind the JSON; each tensor takes its bytes."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content
        self.place = 0

    def take(self, datatype: str, size: Any) -> list[Any]:
        if type(size) is not int or not 0 <= size <= len(self.content) - self.place:
            raise Unreadable(SHAPE)
        packed = self.content[self.place : self.place + size]
        self.place += size
        if datatype == "BYTES":
            return _texts(packed)
        if datatype == "BF16":  # the upper half of an FP32
            datatype, packed = "FP32", b"".join([b"\0\0" + packed[at : at + 2] for at in range(0, size, 2)])
        letter = _FORMATS.get(datatype)
        if letter is None:
            raise Unreadable(TYPE)
        count, rest = divmod(len(packed), struct.calcsize(letter))
        if rest:
            raise Unreadable(SHAPE)
        return list(struct.unpack(f"<{count}{letter}", packed))


def _texts(packed: bytes) -> list[Any]:
    texts = []
    place = 0
    while place < len(packed):
        begin = place + 4
        place = begin + int.from_bytes(packed[begin - 4 : begin], "little")
        if begin > len(packed) or place > len(packed):
            raise Unreadable(SHAPE)
        try:
            texts.append(packed[begin:place].decode())
        except UnicodeDecodeError:
            raise Unreadable(UTF8) from None
    return texts


def split_json(body: bytes, length: str | None) -> tuple[bytes, PackedTensors]:
    """`length`: of the JSON, as the field Inference-Header-Content-Length says it; None: all of the body."""
    if length is None:
        return body, PackedTensors()
    if not (length.isascii() and length.isdigit() and len(length) < 10) or int(length) > len(body):
        raise Unreadable(SHAPE)
    return body[: int(length)], PackedTensors(body[int(length) :])
