"""Customers with stable ids send requests for predictions; at the end the laws of the proxy are checked.

    locust -f loadtests/locustfile.py --headless -u 50 -r 25 -t 60s -H http://127.0.0.1:8080

Environment: CROSSFADE_ADMIN_URL (http://127.0.0.1:9901), CROSSFADE_ADMIN_TOKEN, CROSSFADE_ROUTE
(churn), CROSSFADE_CUSTOMERS (4000). The exit code is 1 if a law is broken (loadtests/laws.py), or if the p99
is above what the `slo` of the route allows (loadtests/latency.py).

Rule: a customer has at most one request in flight, so that answers arrive in the order of the requests.
All users are in one process, because the check needs all answers.
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
from loadtests.latency import judge_latency
from loadtests.laws import AnswerLog, Finding, judge

_ANSWERED_BY = "x-crossfade-backend"
_ERROR_BY_PROXY = "x-crossfade-error"

admin = AdminApi(
    url=os.environ.get("CROSSFADE_ADMIN_URL", "http://127.0.0.1:9901"),
    token=os.environ.get("CROSSFADE_ADMIN_TOKEN", ""),
    route=os.environ.get("CROSSFADE_ROUTE", "churn"),
)


class CustomerPool:
    """All customers, shared by the users. A customer with a request in flight is not in `free`."""

    def __init__(self, size: int) -> None:
        self.free = [customer(number) for number in range(size)]
        self.generator = random.Random()
        self.log = AnswerLog()
        self.before: dict[str, Any] | None = None

    def take(self) -> Customer:
        if not self.free:
            raise RuntimeError("more users than customers; raise CROSSFADE_CUSTOMERS")
        n = self.generator.randrange(len(self.free))
        self.free[n], self.free[-1] = self.free[-1], self.free[n]
        return self.free.pop()

    def put_back(self, customer: Customer) -> None:
        self.free.append(customer)

    def findings(self) -> list[Finding]:
        if self.before is None:
            return [Finding("start", False, "the admin API could not be read at the start")]
        before = state_of(self.before)
        after = state_of(admin.settled_view(self.log.answers, self.before))
        return judge(self.log, before, after, admin.splits(before))


pool = CustomerPool(int(os.environ.get("CROSSFADE_CUSTOMERS", "4000")))


class User(FastHttpUser):
    wait_time = between(0.01, 0.1)

    @task
    def predict(self) -> None:
        current = pool.take()
        try:
            with self.client.post(
                "/predict", json=current.as_json(), name="/predict", catch_response=True
            ) as answer:
                headers = answer.headers or {}
                backend = headers.get(_ANSWERED_BY)
                answer.request_meta["name"] = f"/predict by {backend or 'no backend'}"
                if backend and _ERROR_BY_PROXY not in headers:
                    pool.log.record(current.customer_id, backend)
        finally:
            pool.put_back(current)


@events.init.add_listener  # type: ignore[untyped-decorator]  # by locust
def look_at_the_clock(environment: Environment, **_: object) -> None:
    """gevent's loop still has the time before all imports; if these took longer than --run-time, that would be over."""
    gevent.get_hub().loop.update_now()


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # by locust
def read_route(environment: Environment, **_: object) -> None:
    if isinstance(environment.runner, MasterRunner | WorkerRunner):
        print("laws not checked: the users are in several processes, and no process has all answers")
        return
    pool.log = AnswerLog()
    pool.before = None
    try:
        pool.before = admin.route_view()
    except OSError as error:
        print(f"cannot read {admin.url}: {error}")


@events.test_stop.add_listener  # type: ignore[untyped-decorator]  # by locust
def check_laws(environment: Environment, **_: object) -> None:
    if isinstance(environment.runner, MasterRunner | WorkerRunner):
        return
    total = environment.stats.total
    p99 = (total.get_response_time_percentile(0.99) or 0) / 1000
    try:
        findings = pool.findings()
        if pool.before is not None:
            findings.append(judge_latency(pool.before, total.num_requests, p99))
    except OSError as error:
        findings = [Finding("end", False, f"the admin API could not be read: {error}")]
    for finding in findings:
        print(finding, flush=True)
    if any(finding.held is False for finding in findings):
        environment.process_exit_code = 1
