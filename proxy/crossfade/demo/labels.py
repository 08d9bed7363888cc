"""The customers of the story of drift: rows of the models' own process, and what became of each, told a little later."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from typing import Any

from crossfade.demo.children import child
from crossfade.demo.processes import DemoError, DemoProcesses
from crossfade.demo.traffic import CUSTOMERS, Row, Traffic

_DELAY = 0.5  # seconds until it is known what became of a customer: a month, in real life
_BATCH = 0.25  # seconds between two calls


class LabelledCustomers:
    """`change_currency`: from now on amounts are in another currency. `counts`: what the proxy said to the feedback."""

    def __init__(self, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
        self.rows = before
        self.after = after
        self.due: deque[tuple[float, str, int]] = deque()  # time, id of the request, label
        self.counts: Counter[str] = Counter()

    @classmethod
    async def draw(cls) -> LabelledCustomers:
        before, after = await asyncio.gather(_drawn(), _drawn("--currency", "100"))
        return cls(before, after)

    def join(self, traffic: Traffic) -> None:
        traffic.row_of, traffic.answered = self.row_of, self.answered

    def row_of(self, customer: int) -> Row:
        row: Row = self.rows[customer]["row"]
        return row

    def answered(self, customer: int, request_id: str) -> None:
        self.due.append((time.monotonic() + _DELAY, request_id, self.rows[customer]["churned"]))

    def change_currency(self) -> None:
        self.rows = self.after

    async def tell(self, processes: DemoProcesses) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(_BATCH)
            rows = []
            while self.due and self.due[0][0] <= time.monotonic():
                _, request_id, label = self.due.popleft()
                rows.append({"request_id": request_id, "label": label})
            if rows:
                answer = await processes.feed(rows)
                self.counts.update({name: n for name, n in answer.items() if isinstance(n, int)})


async def _drawn(*more: str) -> list[dict[str, Any]]:
    words = ("--rows", str(CUSTOMERS), "--seed", "11", *more)
    async with child("crossfade_backends.customers", *words, errors=None) as process:
        output, _ = await process.communicate()
    if process.returncode:
        raise DemoError("the customers cannot be drawn")
    return [json.loads(line) for line in output.splitlines()]
