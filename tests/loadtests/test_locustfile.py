"""The locust file against a fake proxy that keeps the laws or breaks them."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from crossfade.routing.ledger import new_ledger, reweigh, salt_of
from tests.ledgers import backend_of, bucket_of

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="locust is not installed (extra: load)")

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token"
SALT = salt_of("churn")


class FakeProxy(ThreadingHTTPServer):
    """The proxy and its admin API on one port."""

    def __init__(self, sticky: bool = True, grows_after: int = 0, target: float = 60.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.sticky, self.grows_after, self.target = sticky, grows_after, target
        self.ledger = new_ledger({"churn-v2": 7000, "churn-v3": 3000}, SALT)
        self.decisions: list[dict[str, object]] = []
        self.requests: Counter[str] = Counter()
        self.lock = threading.Lock()

    def assign(self, customer: str) -> str:
        with self.lock:
            if sum(self.requests.values()) == self.grows_after > 0:
                self.ledger = reweigh(self.ledger, {"churn-v2": 4000, "churn-v3": 6000}, SALT)
                to = {"ledger_version": self.ledger.version, "split": self.split()}
                self.decisions.append({"id": 5, "to": to})
            sticky = backend_of(self.ledger, bucket_of(customer.encode(), SALT))
            backend = sticky if self.sticky else random.choice(["churn-v2", "churn-v3"])
            self.requests[backend] += 1
            return backend

    def split(self) -> dict[str, float]:
        return {name: n / 10_000 for name, n in self.ledger.weights.items()}

    def view(self) -> dict[str, object]:
        return {
            "name": "churn",
            "split": self.split(),
            "ledger_version": self.ledger.version,
            "fallback": "churn-v2",
            "slo": "standard",
            "latency_target": self.target,
            "backends": {
                n: {"role": "member", "requests": self.requests[n], "fell_back": 0}
                for n in self.ledger.backends
            },
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeProxy

    def do_POST(self) -> None:
        row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, {}, self.server.assign(row["customer_id"]))

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.answer(401, {})
        if self.path == "/api/v1/routes/churn":
            return self.answer(200, self.server.view())
        first = self.path.startswith("/api/v1/decisions?route=churn&after=0&")
        return self.answer(200, {"decisions": self.server.decisions if first else []})

    def answer(self, status: int, value: object, backend: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if backend:
            self.send_header("x-crossfade-backend", backend)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(proxy: FakeProxy) -> Iterator[str]:
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def run_locust(url: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    options = "--headless --users 5 --spawn-rate 50 --run-time 2s --stop-timeout 2s --only-summary"
    environment = {"CROSSFADE_ADMIN_URL": url, "CROSSFADE_ADMIN_TOKEN": token, "CROSSFADE_CUSTOMERS": "60"}
    return subprocess.run(
        [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", *options.split(), "--host", url],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_exit_code_is_0_if_the_laws_hold() -> None:
    with serving(FakeProxy()) as url:
        done = run_locust(url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"split: held \(of \d+ customers churn-v2 \d+, expected", done.stdout)
    assert "stickiness: held (the ledger did not change" in done.stdout
    assert re.search(r"latency: held \(p99 \d+ ms of \d+ requests; standard allows 60000 ms\)", done.stdout)
    assert "/predict by churn-v3" in done.stdout + done.stderr


def test_the_exit_code_is_1_if_the_p99_is_above_the_class_of_the_route() -> None:
    with serving(FakeProxy(target=1e-6)) as url:
        done = run_locust(url)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "stickiness: held" in done.stdout
    assert re.search(r"latency: BROKEN \(p99 \d+ ms of \d+ requests; standard allows 0 ms\)", done.stdout)


def test_the_exit_code_is_1_if_stickiness_is_broken() -> None:
    with serving(FakeProxy(sticky=False)) as url:
        done = run_locust(url)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "stickiness: BROKEN" in done.stdout


def test_the_split_is_not_judged_if_the_ledger_changes_during_the_run() -> None:
    with serving(FakeProxy(grows_after=20)) as url:
        done = run_locust(url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "split: not judged (the ledger changed from version 1 to 2 during the run)" in done.stdout
    assert "stickiness: held" in done.stdout
    assert "the weights require 30.00%" in done.stdout


def test_the_exit_code_is_1_if_the_admin_api_refuses_the_token() -> None:
    with serving(FakeProxy()) as url:
        done = run_locust(url, token="wrong")
    assert done.returncode == 1
    assert "401" in done.stdout and "start: BROKEN" in done.stdout
