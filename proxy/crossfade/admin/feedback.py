"""`POST /api/v1/feedback`: rows of JSON or NDJSON, in chunks, to the prediction logs.

Rule: the answer comes when its rows are on disk. Of lines a call holds those of one chunk, of a document all, and only a few
calls may hold a large one. Where a call fails half way, the answer says what was stored; once more, it counts nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from aiohttp import web

from crossfade.admin.connections import body_of, parts_of
from crossfade.admin.operation import LINES_MEDIA, Body, Operation
from crossfade.admin.problems import problem
from crossfade.admin.roles import Role
from crossfade.control.feedback_intake import FeedbackIntake
from crossfade.control.refusal import Invalid, Unwritten
from crossfade.quality.feedback import BadRow, FeedbackAnswer, FeedbackRow, read_row

MAX_ROWS = 100_000  # in one call
MAX_BODY = 32 << 20  # bytes of a body that is no NDJSON: 100 000 rows of 300
SMALL_BODY = 1 << 20  # bytes; of larger ones only a few are held at a time
LARGE_BODIES = 4
CHUNK_BYTES = 1 << 20
LONGEST_LINE = 64 << 10  # bytes
CHUNK = 1000  # rows in one transaction: some 20 ms, between which rows of predictions are written
IN_THREAD = 256 << 10  # bytes; a longer document is decoded beside the health loop
RETRY_AFTER = 5  # seconds

JSON = "application/json"
Numbered = tuple[int, bytes | msgspec.Raw]


class FeedbackApi:
    def __init__(self, intake: FeedbackIntake) -> None:
        self.intake = intake
        self.large = asyncio.Semaphore(LARGE_BODIES)

    async def post(self, request: web.Request) -> web.Response:
        answer = FeedbackAnswer()
        try:
            await self._take_all(request, answer)
        except Unwritten as error:
            again = {"Retry-After": str(RETRY_AFTER)}
            return problem(503, str(error), "unwritten", "It cannot be written now", again, so_far=answer)
        except web.HTTPException as error:
            refused = problem(error.status, error.text or error.reason, so_far=answer)
            if error.status in (408, 413):  # the rest of the body is not waited for
                refused.force_close()
            return refused
        if answer.invalid and answer.invalid == answer.rows:
            first = answer.errors[0]
            detail = f"No row is valid. Row {first.row}: {first.detail}."
            return problem(422, detail, "invalid", "The request is not valid", so_far=answer)
        return web.Response(body=msgspec.json.encode(answer), status=202, content_type=JSON)

    async def _take_all(self, request: web.Request, answer: FeedbackAnswer) -> None:
        if request.content_type in LINES_MEDIA:
            async for chunk in _chunks_of(parts_of(request)):
                await self._take(chunk, answer)
        else:
            length = request.content_length
            if length is not None and length <= SMALL_BODY:
                await self._take_document(request, answer)
            elif self.large.locked():
                raise Unwritten(f"{LARGE_BODIES} large calls are being taken; send lines of NDJSON, or wait")
            else:
                async with self.large:
                    await self._take_document(request, answer)

    async def _take_document(self, request: web.Request, answer: FeedbackAnswer) -> None:
        rows = await _rows_in(await body_of(request.clone(client_max_size=MAX_BODY)))
        for start in range(0, len(rows), CHUNK):
            await self._take(list(enumerate(rows[start : start + CHUNK], start + 1)), answer)

    async def _take(self, chunk: Sequence[Numbered], answer: FeedbackAnswer) -> None:
        rows = []
        for number, sent in chunk:
            try:
                rows.append((number, read_row(sent)))
            except BadRow as error:
                self.intake.refuse(number, str(error), answer)
        await self.intake.take(rows, answer)


async def _rows_in(body: bytes) -> Sequence[msgspec.Raw]:
    """The elements of a list, or the one object."""
    is_list = body.lstrip(b" \t\r\n").startswith(b"[")
    kind: Any = list[msgspec.Raw] if is_list else dict[str, msgspec.Raw]
    try:
        if len(body) > IN_THREAD:
            found = await asyncio.to_thread(msgspec.json.decode, body, type=kind)
        else:
            found = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        raise Invalid("The body must be an object, or a list of objects.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"The body is not JSON: {error}.") from None
    if not is_list:
        return [msgspec.Raw(body)]
    if len(found) > MAX_ROWS:
        raise web.HTTPRequestEntityTooLarge(MAX_ROWS, len(found), text=_too_many())
    rows: list[msgspec.Raw] = found
    return rows


async def _chunks_of(parts: AsyncIterator[bytes]) -> AsyncIterator[list[Numbered]]:
    """Lines with their numbers; empty lines count, and are left out."""
    rows = size = 0
    chunk: list[Numbered] = []
    async for number, line in _lines_of(parts):
        rows += 1
        if rows > MAX_ROWS:
            raise web.HTTPRequestEntityTooLarge(MAX_ROWS, rows, text=_too_many())
        chunk.append((number, line))
        size += len(line)
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


async def _lines_of(parts: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    number, rest = 0, b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            number += 1
            if line.strip():
                yield number, _short(line, number)
        _short(rest, number + 1)
    if rest.strip():
        yield number + 1, rest


def _short(line: bytes, number: int) -> bytes:
    if len(line) > LONGEST_LINE:
        text = f"Line {number} is longer than {LONGEST_LINE} bytes."
        raise web.HTTPRequestEntityTooLarge(LONGEST_LINE, len(line), text=text)
    return line


def _too_many() -> str:
    return f"More than {MAX_ROWS} rows; send them in several calls."


OPERATIONS = (
    Operation(
        method="POST",
        path="/api/v1/feedback",
        handler=FeedbackApi.post,
        role=Role.FEEDBACK,
        summary=f"What became known later of predictions: an object, a list of at most {MAX_ROWS} of them, or NDJSON",
        answer=FeedbackAnswer,
        status=202,
        body=Body(
            FeedbackRow | list[FeedbackRow],
            lines=FeedbackRow,
            example=[{"request_id": "4bf92f3577b34da6", "label": True}],
        ),
        errors={503: "It cannot be written now, or as many large calls as there may be are being taken"},
    ),
)
