"""The audience: a few thousand customers who send requests at a steady rate over keep-alive connections.

Each answer is noted under its customer, so that the summary can count what the customers saw: failed
requests, and how often anyone's backend changed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import groupby

import aiohttp

CUSTOMERS = 3000
RATE = 250.0  # requests a second
CONNECTIONS = 24


@dataclass
class Tally:
    """What the customers saw during one act."""

    sent: int = 0
    failed: int = 0
    fell_back: int = 0  # assigned to one backend, answered by its fallback
    failures: Counter[str] = field(default_factory=Counter)
    by_backend: Counter[str] = field(default_factory=Counter)
    seen: dict[int, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))

    def note(self, customer: int, order: int, assigned: str, answered: str) -> None:
        """`order` is that of sending: slow answers may come in another one."""
        self.by_backend[assigned] += 1
        self.fell_back += assigned != answered
        self.seen[customer].append((order, assigned))

    def paths(self) -> list[list[str]]:
        """Each customer's backends in the order of asking, repeats left out."""
        return [
            [name for name, _ in groupby(b for _, b in sorted(answers))] for answers in self.seen.values()
        ]

    def moves(self) -> tuple[int, int]:
        """How often a customer's backend changed, and the fewest changes that lead where they all went."""
        made = least = 0
        for path in self.paths():
            made += len(path) - 1
            if len(path) > 1:
                least += len(set(path)) - 1 + (path[0] == path[-1])
        return made, least


class Traffic:
    """Runs until cancelled; `tally` may be exchanged between acts."""

    def __init__(self, url: str, seed: int = 7) -> None:
        self.url = f"{url}/predict"
        self.draw = random.Random(seed)
        self.tally = Tally()
        self.sent = 0

    def next_act(self, home: str) -> Tally:
        """A fresh tally, in which everyone known stands with the backend in charge as the act begins."""
        last, self.tally = self.tally, Tally()
        for customer in last.seen:
            self.tally.seen[customer] = [(0, home)]
        return self.tally

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=15)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as tasks,
        ):
            loop = asyncio.get_running_loop()
            due = loop.time()
            while True:
                due += 1 / RATE
                await asyncio.sleep(max(0.0, due - loop.time()))
                if loop.time() - due > 1:  # the machine was busy; do not catch up in a burst
                    due = loop.time()
                tasks.create_task(self.ask(session, self.draw.randrange(CUSTOMERS)))

    async def ask(self, session: aiohttp.ClientSession, customer: int) -> None:
        tally = self.tally
        tally.sent += 1
        self.sent = order = self.sent + 1
        try:
            async with session.post(self.url, json=features_of(customer)) as response:
                answer = await response.json()
                answered = response.headers.get("x-crossfade-backend", "")
                assigned = response.headers.get("x-crossfade-assigned", answered)
                if response.status == 200 and "churn_probability" in answer:
                    tally.note(customer, order, assigned, answered)
                else:
                    tally.failed += 1
                    tally.failures[f"status {response.status}"] += 1
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            tally.failed += 1
            tally.failures[f"{type(error).__name__}: {error}"] += 1


def features_of(customer: int) -> dict[str, object]:
    """The same row each time a customer asks."""
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
