"""`POST /batch` as NDJSON: a row on each line of the body, an answer on each line of the answer, in their order.

Lines are answered as they come, while the client still sends; so a body may be of any size, and memory is bounded.

Rule: a line that is not a valid row gets `{"line": n, "detail": [...]}` in its place, and the others their predictions. Blank lines
get nothing; they count, from 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from aiohttp import web

from crossfade_backends.replies import Refused, logger, refuse
from crossfade_backends.rows import CustomerRow, as_matrix, parse_body
from crossfade_backends.scoring import Distortion, ServedModel, predictions

NDJSON = "application/x-ndjson"
MAX_LINE = 64 * 1024
# Rows that are scored at once; so much is in memory, beside what the sockets hold.
_MOST_ROWS = 500
# So few are scored on the event loop, as a switch to a thread costs more.
_MOST_INLINE = 20

# The number of a line and its text; None: it is too long.
Line = tuple[int, bytes | None]


class LineSplitter:
    """Pieces of a body → its lines, numbered from 1. Of a line that is too long, the text is thrown away as it comes."""

    def __init__(self) -> None:
        self._begun = b""
        self._is_too_long = False
        self._number = 0

    def feed(self, data: bytes) -> Iterator[Line]:
        *ended, begun = data.split(b"\n")
        for text in ended:
            yield self._end(text)
        self._add(begun)

    def close(self) -> Iterator[Line]:
        """The last line, where no newline ends it."""
        if self._begun or self._is_too_long:
            yield self._end(b"")

    def _add(self, text: bytes) -> None:
        self._is_too_long = self._is_too_long or len(self._begun) + len(text) > MAX_LINE
        self._begun = b"" if self._is_too_long else self._begun + text

    def _end(self, text: bytes) -> Line:
        self._add(text)
        self._number += 1
        line = None if self._is_too_long else self._begun
        self._begun, self._is_too_long = b"", False
        return self._number, line


def answer_lines(lines: Sequence[Line], model: ServedModel, distort: Distortion) -> bytes:
    """The lines of the answer, each with its newline. The rows are scored together."""
    rows: list[CustomerRow] = []
    answers: list[Any] = []
    for number, text in lines:
        if text is not None and not text.strip():
            continue
        try:
            rows.append(_read(text))
            answers.append(None)
        except Refused as refused:
            answers.append({"line": number, "detail": refused.problems})
    if rows:
        scores = distort(model.score(as_matrix(rows)))
        found = iter(predictions(rows, model.metadata, scores))
        answers = [next(found) if answer is None else answer for answer in answers]
    return msgspec.json.Encoder().encode_lines(answers)


def _read(text: bytes | None) -> CustomerRow:
    if text is None:
        raise refuse(413, f"the line has more than {MAX_LINE} bytes")
    return parse_body(CustomerRow, text)


async def stream_lines(
    request: web.Request, model: ServedModel, distort: Distortion, cut: bool
) -> web.StreamResponse:
    """`cut`: the connection is closed after the first answers, as a fault."""
    response = web.StreamResponse(headers={"Content-Type": NDJSON, "Cache-Control": "no-store"})
    await response.prepare(request)
    try:
        is_whole = await _stream(request, response, model, distort, cut)
    except Exception:
        # The head is sent, so no status can say it: an answer that ends too early does.
        logger.exception("%s %s", request.method, request.path)
        is_whole = False
    if is_whole:
        await response.write_eof()
    elif request.transport is not None:
        request.transport.close()
    return response


async def _stream(
    request: web.Request, response: web.StreamResponse, model: ServedModel, distort: Distortion, cut: bool
) -> bool:
    """Whether all lines were answered."""
    splitter = LineSplitter()
    async for data in request.content.iter_any():
        if await _write(response, splitter.feed(data), model, distort) and cut:
            return False
    await _write(response, splitter.close(), model, distort)
    return True


async def _write(
    response: web.StreamResponse, lines: Iterator[Line], model: ServedModel, distort: Distortion
) -> bool:
    """Whether anything was written. Waits where the client does not read, and then reads nothing of it either."""
    wrote = False
    while chunk := list(islice(lines, _MOST_ROWS)):
        if len(chunk) <= _MOST_INLINE:
            answers = answer_lines(chunk, model, distort)
        else:
            answers = await asyncio.to_thread(answer_lines, chunk, model, distort)
        if answers:
            await response.write(answers)
            wrote = True
    return wrote
