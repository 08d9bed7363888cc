"""The log of requests: a line of JSON each, without what nobody may read there.

Rule: bodies are never logged, for they are the data of customers. Of the query only the names are; of header fields those that
may hold a secret are `***`. A thread writes; where it cannot keep up, lines are dropped and counted, and requests do not wait.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from queue import Full, Queue
from time import perf_counter
from typing import Any, BinaryIO

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

HIDDEN = "***"
STANDARD_ERROR = "-"
_SECRET = re.compile(r"auth|cookie|token|secret|key|password|credential|session|signature", re.IGNORECASE)
_LONGEST = 256  # characters of a value
_MOST_FIELDS = 50
_MOST_WAITING = 10_000  # lines
_CLOSED_WITHIN = 5.0  # seconds


def redacted(fields: Mapping[str, str]) -> dict[str, str]:
    """The first fields in lower case, each value cut; `***` for a value whose name says that it may be a secret."""
    shown = list(fields.items())[:_MOST_FIELDS]
    return {name.lower(): HIDDEN if _SECRET.search(name) else value[:_LONGEST] for name, value in shown}


class RequestLog:
    """`dropped` is called for each line that is not written."""

    def __init__(self, target: str, dropped: Callable[[], None]) -> None:
        """Opens the file to append to it; `-` is standard error. Raises OSError."""
        self.lines: Queue[bytes | None] = Queue(_MOST_WAITING)
        self.dropped = dropped
        self.file = self._opened(target)
        self.thread = threading.Thread(target=self._write, name="request log", daemon=True)
        self.thread.start()

    @staticmethod
    def _opened(target: str) -> BinaryIO:
        if target == STANDARD_ERROR:
            return sys.stderr.buffer
        path = Path(target)
        path.touch(mode=0o600)
        return path.open("ab", buffering=0)  # nothing is left for `close` to write

    def _write(self) -> None:
        while (line := self.lines.get()) is not None:
            try:
                self.file.write(line + b"\n")
                self.file.flush()
            except OSError:
                self.dropped()

    def close(self, within: float = _CLOSED_WITHIN) -> None:
        """Waits until all lines are written; not for ever, as a pipe that nobody reads takes none."""
        try:
            self.lines.put(None, timeout=within)
        except Full:
            return
        self.thread.join(within)
        if not self.thread.is_alive() and self.file is not sys.stderr.buffer:
            self.file.close()

    def add(self, content: Mapping[str, Any]) -> None:
        try:
            self.lines.put_nowait(msgspec.json.encode(content))
        except Full:
            self.dropped()

    @web.middleware
    async def note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = perf_counter()
        status, size = 499, 0  # of a client that goes away, for which the handler is cancelled
        try:
            response = await handler(request)
            status, size = response.status, response.content_length or response.body_length
            return response
        finally:
            self.add(
                {
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "client": request.remote,
                    "method": request.method,
                    "path": request.path[:_LONGEST],
                    "query": sorted({name[:_LONGEST] for name in request.query})[:_MOST_FIELDS],
                    "status": status,
                    "seconds": round(perf_counter() - started, 6),
                    "bytes_in": request.content_length,
                    "bytes_out": size,
                    "headers": redacted(request.headers),
                }
            )
