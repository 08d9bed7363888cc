"""Content codings undone (RFC 9110 section 8.4.1): gzip, deflate, br, zstd, and several of them in one field.

Rule: no step gives more than a limit of bytes, whatever the packed bytes promise, so a decompression bomb costs no
more than that. br and zstd come from libraries of the extra `encodings`, imported where an answer needs them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any, Final, NamedTuple

from crossfade.quality.unreadable import CORRUPT, ENCODING, SIZE, Unreadable

MOST_CODINGS: Final = 4  # in one field; servers use one
_WINDOW_LOG: Final = 23  # RFC 8878 section 3.1.1.1.2 asks for at least 8 MiB; a larger window is refused


class _Zlib:
    """`window`: as zlib's wbits: 15 the zlib form, 31 gzip, -15 raw deflate."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.stream = zlib.decompressobj(window)

    def feed(self, packed: bytes, room: int) -> bytes:
        """At most `room` bytes and one more, which says that there are too many."""
        parts: list[bytes] = []
        while packed:
            if self.stream.eof:  # RFC 1952 section 2.2: a gzip file is members one after another
                if self.window != 31:
                    raise Unreadable(CORRUPT)
                self.stream = zlib.decompressobj(self.window)
            part = self.stream.decompress(packed, room + 1)
            room -= len(part)
            if room < 0:
                raise Unreadable(SIZE)
            parts.append(part)
            packed = self.stream.unconsumed_tail or self.stream.unused_data
        return b"".join(parts)

    @property
    def ended(self) -> bool:
        return self.stream.eof


class _Deflate(_Zlib):
    """`deflate` is the zlib form (RFC 9110 section 8.4.1.2), and some servers send the raw one."""

    def __init__(self) -> None:
        super().__init__(15)
        self.begun = False

    def feed(self, packed: bytes, room: int) -> bytes:
        if packed and not self.begun:
            self.begun = True
            if packed[0] & 15 != 8 or (len(packed) > 1 and (packed[0] * 256 + packed[1]) % 31):
                self.window = -15
                self.stream = zlib.decompressobj(-15)
        return super().feed(packed, room)


class _Brotli:
    def __init__(self) -> None:
        try:
            import brotli
        except ImportError:
            raise Unreadable(ENCODING) from None
        self.stream: Any = brotli.Decompressor()

    def feed(self, packed: bytes, room: int) -> bytes:
        parts: list[bytes] = []
        while packed or not self.stream.can_accept_more_data():
            if self.stream.is_finished():
                raise Unreadable(CORRUPT)
            part = self.stream.process(packed, output_buffer_limit=room + 1)
            packed = b""
            room -= len(part)
            if room < 0:
                raise Unreadable(SIZE)
            parts.append(part)
        return b"".join(parts)

    @property
    def ended(self) -> bool:
        return bool(self.stream.is_finished())


def _zstd() -> Any:
    """The module of Python 3.14, or the same one for an older Python."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise Unreadable(ENCODING)


class _Zstd:
    def __init__(self) -> None:
        zstd = _zstd()
        options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        self.begin: Callable[[], Any] = lambda: zstd.ZstdDecompressor(options=options)
        self.stream = self.begin()

    def feed(self, packed: bytes, room: int) -> bytes:
        parts: list[bytes] = []
        while packed or not (self.stream.needs_input or self.stream.eof):
            if self.stream.eof:  # RFC 8878 section 3: frames one after another
                self.stream = self.begin()
            part = self.stream.decompress(packed, room + 1)
            room -= len(part)
            if room < 0:
                raise Unreadable(SIZE)
            parts.append(part)
            packed = self.stream.unused_data if self.stream.eof else b""
        return b"".join(parts)

    @property
    def ended(self) -> bool:
        return bool(self.stream.eof)


_CODINGS: Final[dict[str, Callable[[], Any]]] = {
    "gzip": lambda: _Zlib(31),
    "x-gzip": lambda: _Zlib(31),  # RFC 9110 section 8.4.1.3
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}


class Unpacked(NamedTuple):
    content: bytes
    ends: tuple[int, ...]


def unpack(
    packed: bytes, field: str, largest: int, ends: tuple[int, ...] = (), whole: bool = True
) -> Unpacked:
    """The content behind the codings of a Content-Encoding field. Raises Unreadable.

    `ends`: places in the packed bytes; `Unpacked.ends` are those up to which the content was known there. `whole`: the
    packed bytes are all of them, so the codings have to end.
    """
    names = [name for part in field.lower().split(",") if (name := part.strip(" \t")) not in ("", "identity")]
    if len(names) > MOST_CODINGS or not all(name in _CODINGS for name in names):
        raise Unreadable(ENCODING)
    for name in reversed(names):
        packed, ends = _undo(_CODINGS[name](), packed, largest, ends, whole)
    return Unpacked(packed, ends)


def _undo(coding: Any, packed: bytes, largest: int, ends: tuple[int, ...], whole: bool) -> Unpacked:
    parts: list[bytes] = []
    length = 0
    places = []
    try:
        for begin, end in pairwise((0, *ends, len(packed))):
            part = coding.feed(packed[begin:end], largest - length)
            parts.append(part)
            length += len(part)
            places.append(length)
    except Unreadable:
        raise
    except Exception:  # each library has its own class for bytes that it cannot unpack
        raise Unreadable(CORRUPT) from None
    if whole and packed and not coding.ended:
        raise Unreadable(CORRUPT)
    return Unpacked(b"".join(parts), tuple(places[:-1]))
