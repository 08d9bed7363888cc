"""Users who ask for predictions, as fast as they are answered or at a fixed rate: the load of `python -m loadtests.serving`.

Environment: CROSSFADE_SERVING_ROWS of a request (more than 1: a batch), CROSSFADE_SERVING_RATE in requests per second of
each user (0: as fast as they are answered). The last line that it prints is an Outcome as JSON.

Rule: all users are in one process, and bodies are made before the start, so that the load costs as little as it can.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from typing import Any

import gevent
import msgspec
from locust import FastHttpUser, events, task
from locust.env import Environment

from loadtests.customers import customer
from loadtests.generators import Outcome

CUSTOMERS = 1000
ROWS = int(os.environ.get("CROSSFADE_SERVING_ROWS", "1"))
RATE = float(os.environ.get("CROSSFADE_SERVING_RATE", "0"))
JSON = {"content-type": "application/json"}


def bodies() -> list[str]:
    rows = [customer(number).as_json() for number in range(CUSTOMERS)]
    if ROWS == 1:
        return [json.dumps(row) for row in rows]
    return [
        json.dumps({"rows": rows[start : start + ROWS]}) for start in range(0, CUSTOMERS - ROWS + 1, ROWS)
    ]


PATH, BODIES = "/predict" if ROWS == 1 else "/batch", bodies()


class Answers:
    """`latencies` in milliseconds, of all requests; a failed one has the time until its error."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.failed = 0
        self.cached = 0
        self.begun = time.perf_counter()
        self.ended = self.begun

    def outcome(self) -> Outcome:
        ordered = sorted(self.latencies) or [0.0]

        def percentile(share: float) -> float:
            return round(ordered[math.ceil(share * len(ordered)) - 1] * 1000, 1)

        return Outcome(
            requests=len(self.latencies),
            seconds=self.ended - self.begun,
            errors=self.failed,
            cached=self.cached,
            p50_us=percentile(0.5),
            p99_us=percentile(0.99),
        )


answers = Answers()


class User(FastHttpUser):
    def on_start(self) -> None:
        gevent.sleep(self.wait_time())

    def wait_time(self) -> float:
        """Random, so that users do not come together."""
        return random.expovariate(RATE) if RATE else 0.0

    @task
    def ask(self) -> None:
        answer = self.client.post(PATH, data=random.choice(BODIES), headers=JSON)
        headers: Any = answer.headers or {}
        answers.cached += headers.get("x-crossfade-cache") == "hit"


@events.init.add_listener  # type: ignore[untyped-decorator]  # by locust
def look_at_the_clock(environment: Environment, **_: object) -> None:
    """gevent's loop still has the time before all imports; if these took longer than --run-time, that would be over."""
    gevent.get_hub().loop.update_now()


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # by locust
def begin(environment: Environment, **_: object) -> None:
    answers.begun = time.perf_counter()


@events.request.add_listener  # type: ignore[untyped-decorator]  # by locust
def note(response_time: float, exception: Any, **_: object) -> None:
    answers.ended = time.perf_counter()
    answers.latencies.append(response_time)
    answers.failed += exception is not None


@events.quit.add_listener  # type: ignore[untyped-decorator]  # by locust
def tell(exit_code: int, **_: object) -> None:
    print(msgspec.json.encode(answers.outcome()).decode(), flush=True)
