"""Customers with stable ids ask for predictions; at the end the proxy's laws are judged.

    locust -f loadtests/locustfile.py --headless -u 50 -r 25 -t 60s -H http://127.0.0.1:8080

Environment: CROSSFADE_ADMIN_URL (http://127.0.0.1:9901), CROSSFADE_ADMIN_TOKEN, CROSSFADE_ROUTE
(churn), CROSSFADE_CUSTOMERS (4000). The exit code is 1 if a law is broken (loadtests/laws.py).

Rule: no customer has two requests under way at once, so answers come in the order of the requests;
and all users are in one process, since no other knows who saw what.
"""

from __future__ import annotations

import os
import random
from typing import Any

import gevent
from locust import FastHttpUser, between, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests.admin import AdminApi, state_of
from loadtests.customers import Customer, customer
from loadtests.laws import Finding, Sightings, judge

ANSWERED_BY = "x-crossfade-backend"
ERROR_BY_PROXY = "x-crossfade-error"

admin = AdminApi(
    url=os.environ.get("CROSSFADE_ADMIN_URL", "http://127.0.0.1:9901"),
    token=os.environ.get("CROSSFADE_ADMIN_TOKEN", ""),
    route=os.environ.get("CROSSFADE_ROUTE", "churn"),
)


class Audience:
    """All customers, shared by the users; those with a request under way are not free."""

    def __init__(self, size: int) -> None:
        self.free = [customer(number) for number in range(size)]
        self.draw = random.Random()
        self.sightings = Sightings()
        self.before: dict[str, Any] | None = None

    def take(self) -> Customer:
        if not self.free:
            raise RuntimeError("more users than customers; raise CROSSFADE_CUSTOMERS")
        n = self.draw.randrange(len(self.free))
        self.free[n], self.free[-1] = self.free[-1], self.free[n]
        return self.free.pop()

    def give_back(self, one: Customer) -> None:
        self.free.append(one)

    def findings(self) -> list[Finding]:
        if self.before is None:
            return [Finding("start", False, "the admin API could not be read at the start")]
        before = state_of(self.before)
        after = state_of(admin.settled_view(self.sightings.answers, self.before))
        return judge(self.sightings, before, after, admin.splits(before))


audience = Audience(int(os.environ.get("CROSSFADE_CUSTOMERS", "4000")))


class Caller(FastHttpUser):
    wait_time = between(0.01, 0.1)

    @task
    def predict(self) -> None:
        one = audience.take()
        try:
            with self.client.post(
                "/predict", json=one.as_json(), name="/predict", catch_response=True
            ) as answer:
                headers = answer.headers or {}
                backend = headers.get(ANSWERED_BY)
                answer.request_meta["name"] = f"/predict by {backend or 'nobody'}"
                if backend and ERROR_BY_PROXY not in headers:
                    audience.sightings.see(one.customer_id, backend)
        finally:
            audience.give_back(one)


@events.init.add_listener  # type: ignore[untyped-decorator]  # by locust
def look_at_the_clock(environment: Environment, **_: object) -> None:
    """gevent's loop still has the time before all imports; if these took longer than --run-time, that would be over."""
    gevent.get_hub().loop.update_now()


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # by locust
def begin(environment: Environment, **_: object) -> None:
    if isinstance(environment.runner, MasterRunner | WorkerRunner):
        print("not judged: the users are in several processes, and no one of them knows who saw what")
        return
    audience.sightings = Sightings()
    audience.before = None
    try:
        audience.before = admin.route_view()
    except OSError as error:
        print(f"cannot read {admin.url}: {error}")


@events.test_stop.add_listener  # type: ignore[untyped-decorator]  # by locust
def conclude(environment: Environment, **_: object) -> None:
    if isinstance(environment.runner, MasterRunner | WorkerRunner):
        return
    try:
        findings = audience.findings()
    except OSError as error:
        findings = [Finding("end", False, f"the admin API could not be read: {error}")]
    for finding in findings:
        print(finding, flush=True)
    if any(finding.held is False for finding in findings):
        environment.process_exit_code = 1
