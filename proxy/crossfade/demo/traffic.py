"""The traffic of the demo: customers who send requests at a fixed rate over keep-alive connections.

Each answer is recorded under its customer, so that the summary counts what clients saw: failed
requests, and how often a customer's backend changed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import aiohttp

CUSTOMERS = 3000
RATE = 250.0  # requests a second
_CONNECTIONS = 24


@dataclass
class Tally:
    """What the customers saw during one scenario."""

    sent: int = 0
    failed: int = 0
    answered_by_fallback: int = 0  # assigned to one backend, answered by the fallback
    failures: Counter[str] = field(default_factory=Counter)
    by_backend: Counter[str] = field(default_factory=Counter)
    # By customer: (number of the request, backend assigned).
    answers: dict[int, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))

    def record(self, customer: int, number: int, assigned: str, answered: str) -> None:
        """`number` counts requests in the order of sending; answers may arrive in another order."""
        self.by_backend[assigned] += 1
        self.answered_by_fallback += assigned != answered
        self.answers[customer].append((number, assigned))

    def paths(self) -> list[list[str]]:
        """Each customer's backends in the order of the requests, without repeats."""
        return [
            [name for name, _ in groupby(b for _, b in sorted(answers))] for answers in self.answers.values()
        ]

    def backend_changes(self) -> tuple[int, int]:
        """How often a customer's backend changed, and the fewest changes that are possible.

        A customer with n backends needs n - 1 changes, and one more if the last backend is the first one.
        """
        changes = fewest = 0
        for path in self.paths():
            changes += len(path) - 1
            if len(path) > 1:
                fewest += len(set(path)) - 1 + (path[0] == path[-1])
        return changes, fewest


Row = Mapping[str, object]


class Traffic:
    """Runs until cancelled. Each scenario has its own `tally`. `row_of`: what a customer asks; `answered`: is told of each
    answer, with the customer and the request's id.

    At most _CONNECTIONS requests are under way, and one of each customer: on a busy machine the rate falls, where a queue
    would carry requests of one scenario into the next, and let a customer's answers overtake each other.
    """

    def __init__(self, url: str, seed: int = 7) -> None:
        self.url = f"{url}/predict"
        self.generator = random.Random(seed)
        self.tally = Tally()
        self.row_of: Callable[[int], Row] = features_of
        self.answered: Callable[[int, str], None] = lambda customer, request_id: None
        self.sent = 0
        self.waiting: set[int] = set()  # customers with a request under way

    def start_tally(self, champion: str) -> Tally:
        """An empty tally in which every customer seen so far begins with the champion."""
        previous, self.tally = self.tally, Tally()
        for customer in previous.answers:
            self.tally.answers[customer] = [(0, champion)]
        return self.tally

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=15)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as tasks,
        ):
            loop = asyncio.get_running_loop()
            due = loop.time()
            free = asyncio.Semaphore(_CONNECTIONS)
            while True:
                due += 1 / RATE
                await asyncio.sleep(max(0.0, due - loop.time()))
                if loop.time() - due > 1:  # the machine was busy: no burst to catch up
                    due = loop.time()
                await free.acquire()
                task = tasks.create_task(self.send(session, self.next_customer()))
                task.add_done_callback(lambda _: free.release())

    def next_customer(self) -> int:
        while (customer := self.generator.randrange(CUSTOMERS)) in self.waiting:
            pass
        self.waiting.add(customer)
        return customer

    async def send(self, session: aiohttp.ClientSession, customer: int) -> None:
        tally = self.tally
        tally.sent += 1
        self.sent = number = self.sent + 1
        try:
            async with session.post(self.url, json=self.row_of(customer)) as response:
                answer = await response.json()
                answered = response.headers.get("x-crossfade-backend", "")
                assigned = response.headers.get("x-crossfade-assigned", answered)
                if response.status == 200 and "churn_probability" in answer:
                    tally.record(customer, number, assigned, answered)
                    self.answered(customer, response.headers.get("x-request-id", ""))
                else:
                    tally.failed += 1
                    tally.failures[f"status {response.status}"] += 1
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            tally.failed += 1
            tally.failures[f"{type(error).__name__}: {error}"] += 1
        finally:
            self.waiting.remove(customer)


def features_of(customer: int) -> Row:
    """The same row in every request of a customer."""
    draw = random.Random(customer)
    transactions = draw.randrange(0, 60)
    return {
        "customer_id": f"customer-{customer:05d}",
        "nb_transactions_30d": transactions,
        "total_amount_30d": round(transactions * draw.uniform(5, 80), 2),
        "days_since_last_transaction": draw.randrange(0, 90),
        "support_tickets_90d": draw.choice((0, 0, 0, 1, 1, 2, 4)),
        "subscription_age_days": draw.randrange(10, 2500),
    }
