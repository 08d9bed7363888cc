"""A small fake of the proxy's `GET /api/v1/predictions/{route}`: rows as the prediction log gives them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from crossfade_backends.data import as_request, draw_sample

AT = 1_764_276_000.0


def rows(n: int, seed: int = 5) -> list[dict[str, Any]]:
    """Of n customers, one a minute, with what became of them."""
    sample = draw_sample(n, seed)
    return [
        {
            "request_id": f"r{i}",
            "at": AT - 60.0 * (n - i),
            "backend": "churn-v2",
            "answered_by": "churn-v2",
            "role": "champion",
            "score": 0.3,
            "feedback": {"label": int(sample.churned[i])},
            "input": as_request(sample, i),
        }
        for i in range(n)
    ]


def as_lines(records: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


class Log(ThreadingHTTPServer):
    """`asked`: the target and the authorization of each request."""

    body = b""
    status = 200
    location = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/v1/predictions/churn?labelled=true"


class _Handler(BaseHTTPRequestHandler):
    server: Log

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def serving(body: bytes, status: int = 200) -> Iterator[Log]:
    log = Log()
    log.body, log.status = body, status
    thread = threading.Thread(target=log.serve_forever)
    thread.start()
    try:
        yield log
    finally:
        log.shutdown()
        thread.join()
        log.server_close()
