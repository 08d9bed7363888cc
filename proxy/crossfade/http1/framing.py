"""Bodies: where they end, and how they are framed (RFC 9112 sections 6 and 7).

Rule: a chunked body is decoded and chunked again, so that unusual chunk syntax of one side never
reaches the other. Sizes are plain hexadecimal. Extensions are checked and dropped. Trailers are
checked, and only those that `trailers` allows are kept.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Final

from crossfade.http1.headers import LOOSE_LINES, NOTHING, TEXT, TOKEN
from crossfade.http1.trailers import trailer_fields

CHUNK_LINE_LIMIT = 1024  # bytes: size, extensions and CRLF; nginx and Go have similar limits
# Bytes of size lines in a message, beyond 16 for each chunk and twice its payload: else many short extensions pass any
# limit of the payload (CVE-2023-39326, whose mending in Go has these numbers).
CHUNK_EXCESS_LIMIT = 16_384
CHUNK_ALLOWANCE = 16
TRAILER_LIMIT = 8192  # bytes: all trailer fields and the empty line that ends them
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILERS = re.compile(LOOSE_LINES)
# Prefixes of both. Bytes that cannot become one are refused when they arrive, not when a timeout ends.
_CHUNK_LINE_SO_FAR = re.compile(rb"(?:[0-9A-Fa-f]{1,15}[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r?)?")
_TRAILERS_SO_FAR = re.compile(LOOSE_LINES + rb"(?:" + TOKEN + rb"++(?::" + TEXT + rb"*+)?)?\r?")
LAST_CHUNK = b"0\r\n\r\n"


class BrokenBody(Exception):
    """The chunked body does not match the grammar; the rest of the connection cannot be parsed."""


_LINES_KEPT: Final = 4096
# By the size of a chunk's data, and by the length of a piece, of those that were asked for.
_SIZE_LINES: Final[list[bytes]] = [b""] * _LINES_KEPT
_SIZE_LINES_OF_PIECES: Final[list[bytes | None]] = [None] * _LINES_KEPT


def size_line(size: int) -> bytes:
    if size >= _LINES_KEPT:
        return b"%x\r\n" % size
    line = _SIZE_LINES[size]
    if not line:
        _SIZE_LINES[size] = line = b"%x\r\n" % size
    return line


def size_line_of_piece(length: int) -> bytes:
    """The size line of a piece of this length that is one chunk, with its line and its CRLF; empty if there is none."""
    if length >= _LINES_KEPT:
        return _line_that_fits(length)
    line = _SIZE_LINES_OF_PIECES[length]
    if line is None:
        _SIZE_LINES_OF_PIECES[length] = line = _line_that_fits(length)
    return line


def _line_that_fits(length: int) -> bytes:
    for digits in range(1, 9):
        size = length - 4 - digits
        if size > 0 and len(line := b"%x\r\n" % size) == digits + 2:
            return line
    return b""


def chunk(data: bytes) -> bytes:
    """One chunk with the data, which must not be empty: an empty chunk would end the body."""
    return b"%b%b\r\n" % (size_line(len(data)), data)


def chunks(data: bytes, done: bool, trailers: bytes = b"") -> bytes:
    """A chunk if there is payload, then the last chunk if the body ends here."""
    last = (b"0\r\n%b\r\n" % trailers if trailers else LAST_CHUNK) if done else b""
    return (chunk(data) if data else b"") + last


class ChunkedReader:
    """Decodes a chunked body piece by piece.

    After `done`, `surplus` holds the bytes behind the body, and `trailers` the field lines to forward. `framed` is the last
    piece where that is one small chunk, as `chunk` writes it; else empty.
    `nominated` are the lower-cased names in the message's Connection field: trailers with these names are
    removed too (RFC 9110 section 7.6.1).
    """

    __slots__ = ("buffer", "done", "excess", "framed", "nominated", "remaining", "surplus", "trailers")

    def __init__(self, nominated: AbstractSet[bytes] = NOTHING) -> None:
        self.nominated = nominated
        self.trailers = b""
        self.buffer = b""
        self.framed = b""
        self.remaining = 0  # bytes left of the current chunk and its CRLF; 0: a size line is next
        self.excess = 0  # bytes of size lines beyond what their chunks allow
        self.done = False
        self.surplus = b""

    def feed(self, data: bytes) -> bytes:
        """The payload in the data. Raises BrokenBody. An event of a stream is mostly one piece, and one chunk."""
        if self.remaining == 0 and not self.buffer:
            line = size_line_of_piece(len(data))
            if line and data.startswith(line) and data.endswith(b"\r\n"):
                self.framed = data if len(data) < _LINES_KEPT else b""  # it is kept until the next piece
                return data[len(line) : -2]
        self.framed = b""
        if self.buffer:
            data = self.buffer + data
            self.buffer = b""
        position = 0
        payload: list[bytes] = []
        while position < len(data):
            if self.remaining > 2:
                piece = data[position : position + self.remaining - 2]
                payload.append(piece)
                position += len(piece)
                self.remaining -= len(piece)
            elif self.remaining:
                end = data[position : position + 2]
                if end == b"\r":
                    break
                if end != b"\r\n":
                    raise BrokenBody("a chunk is longer than its size line says")
                position += 2
                self.remaining = 0
            else:
                after = self.read_size_line(data, position)
                if after < 0 or self.done:
                    position = max(position, after)
                    break
                position = after
        if self.done:
            self.surplus = data[position:]
        else:
            self.buffer = data[position:]
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def read_size_line(self, data: bytes, start: int) -> int:
        """The position after the size line, of the last chunk after the trailers; -1: more data is needed."""
        end = data.find(b"\r\n", start)
        if end < 0:
            if len(data) - start >= CHUNK_LINE_LIMIT:
                raise BrokenBody(f"a chunk size line is longer than {CHUNK_LINE_LIMIT} bytes")
            if not _CHUNK_LINE_SO_FAR.fullmatch(data, start):
                raise BrokenBody("a chunk size is not valid")
            return -1
        match = _CHUNK_LINE.fullmatch(data, start, end)
        if match is None or end + 2 - start > CHUNK_LINE_LIMIT:
            raise BrokenBody("a chunk size is not valid")
        size = int(match[1], 16)
        if size:
            self.remaining = size + 2
            self.excess = max(0, self.excess + end + 2 - start - CHUNK_ALLOWANCE - 2 * size)
            if self.excess > CHUNK_EXCESS_LIMIT:
                raise BrokenBody("the chunk extensions are longer than the payload allows")
            return end + 2
        return self.read_trailers(data, end + 2)

    def read_trailers(self, data: bytes, start: int) -> int:
        """The position after the trailers; -1: more data is needed."""
        if data[start : start + 2] == b"\r\n":
            self.done = True
            return start + 2
        end = data.find(b"\r\n\r\n", start)
        if end < 0:
            if len(data) - start >= TRAILER_LIMIT:
                raise BrokenBody(f"the trailers are longer than {TRAILER_LIMIT} bytes")
            if not _TRAILERS_SO_FAR.fullmatch(data, start):
                raise BrokenBody("the trailers are not valid")
            return -1
        if end + 4 - start > TRAILER_LIMIT or not _TRAILERS.fullmatch(data, start, end + 2):
            raise BrokenBody("the trailers are not valid")
        self.trailers = trailer_fields(data[start : end + 2], self.nominated)
        self.done = True
        return end + 4


class LengthReader:
    """A body of known length in bytes."""

    trailers = b""
    framed = b""
    __slots__ = ("done", "remaining", "surplus")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0
        self.surplus = b""

    def feed(self, data: bytes) -> bytes:
        """The part of the data that belongs to the body; the rest becomes `surplus`."""
        if len(data) > self.remaining:
            self.surplus = data[self.remaining :]
            data = data[: self.remaining]
        self.remaining -= len(data)
        self.done = self.remaining == 0
        return data


class UntilCloseReader:
    """A body that ends when the connection closes; a truncated one looks the same."""

    trailers = b""
    framed = b""
    __slots__ = ("done", "surplus")

    def __init__(self) -> None:
        self.done = False
        self.surplus = b""

    def feed(self, data: bytes) -> bytes:
        return data


BodyReader = ChunkedReader | LengthReader | UntilCloseReader
