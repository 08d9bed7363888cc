"""The client of the admin API against answers of all kinds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crossfade_backends.admin_client import AdminClient, ProxyError
from loadtests.ports import free_port

PLACE = {"source": "a.yaml", "line": 3, "column": 5, "path": "routes[0]"}
PROBLEMS = [
    PLACE | {"message": "bad", "severity": "error"},
    PLACE | {"message": "unwise", "severity": "warning"},
]
PROBLEM = json.dumps({"detail": "no", "problems": PROBLEMS}).encode()


class Handler(BaseHTTPRequestHandler):
    seen: list[tuple[str, str | None]] = []  # noqa: RUF012 - of the one test that reads it

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"]))
        status, body = {"/good": (200, b"{}"), "/page": (200, b"<html>"), "/plain": (500, b"broken")}.get(
            self.path, (422, PROBLEM)
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: object) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_answer_is_a_value_or_says_why_not(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")  # not asked
    client = AdminClient(url, "a-token")
    assert client.get("good") == {}
    assert ("/good", "Bearer a-token") in Handler.seen
    for path, status, words in (
        ("page", 0, "is no admin API of Crossfade"),
        ("plain", 500, "the proxy refuses: broken"),
        ("a/b", 422, r"the proxy refuses: no\n  a\.yaml:3:5: routes\[0\]: bad$"),
    ):
        with pytest.raises(ProxyError, match=words) as refused:
            client.get(path)
        assert refused.value.status == status
    assert "/a%2Fb" in [path for path, _ in Handler.seen]
    with pytest.raises(ProxyError, match="does not answer"):
        AdminClient(f"http://127.0.0.1:{free_port()}").get("good")
