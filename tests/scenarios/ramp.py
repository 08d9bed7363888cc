"""Customers for a ramp: `locust -f tests/scenarios/ramp.py`; the file RAMP_USERS says how many there are now, and ends the run with 0."""

from __future__ import annotations

import os
from pathlib import Path

from locust import FastHttpUser, LoadTestShape, constant, task

from crossfade_backends.data import as_request, draw_sample

WANTED = Path(os.environ["RAMP_USERS"])
SAMPLE = draw_sample(100, 5)
ROWS = [as_request(SAMPLE, n) for n in range(100)]


class Customer(FastHttpUser):
    wait_time = constant(0)

    @task
    def predict(self) -> None:
        for row in ROWS:
            self.client.post("/predict", json=row)


class Ramp(LoadTestShape):
    def tick(self) -> tuple[int, float] | None:
        users = int(WANTED.read_text())
        return (users, 100.0) if users else None
