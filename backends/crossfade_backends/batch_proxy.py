"""Scores the rows of a batch through the proxy: each is a request of its customer, so the split, stickiness and mirrors hold.

Rule: the rate is the proxy's to choose. The number of requests at once grows while all is well; 429 and 503 halve it, and
`Retry-After` is waited for. A row is asked again until it is answered or refused; only where nothing at all is answered for
`give_up` seconds the run ends, and can go on later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import aiohttp
import msgspec

from crossfade_backends.batch_input import BatchError, Chunk
from crossfade_backends.batch_model import Result, bad_row, checked
from crossfade_backends.batch_parts import Scored
from crossfade_backends.rows import CustomerRow
from crossfade_backends.scoring import risk_level

BUSY = (429, 503)
AGAIN = (408, 425, 502, 504)
MOST_ATTEMPTS = 4  # where the model itself failed
LONGEST_WAIT = 60.0  # seconds that a Retry-After may ask for
_FIRST_WAIT = 0.1
_START = 4.0  # requests at once


class Pace:
    """How many requests may be under way: additive increase, multiplicative decrease, as TCP does.

    `now` is in seconds, of a clock that only goes forward.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = min(_START, most)
        self.not_before = 0.0
        self.slowed_at = -1.0

    def succeeded(self) -> None:
        self.limit = min(self.limit + 1 / self.limit, self.most)

    def slow_down(self, now: float, wait: float) -> None:
        """At most once a second: those under way are refused together."""
        self.not_before = max(self.not_before, now + min(wait, LONGEST_WAIT))
        if now - self.slowed_at >= 1:
            self.limit = max(self.limit / 2, 1.0)
            self.slowed_at = now


class ThroughProxy:
    """`most`: requests at once; `give_up`: seconds without any answer."""

    def __init__(self, url: str, most: int, give_up: float) -> None:
        self.url = url
        self.pace = Pace(most)
        self.give_up = give_up
        self.answered_at = time.monotonic()
        self.waited = 0  # answers 429 and 503

    def score_all(self, given: Iterable[Chunk]) -> Iterator[Result]:
        with asyncio.Runner() as runner:
            session = runner.run(_connected())
            try:
                for chunk in given:
                    self.begin()
                    yield (chunk, *runner.run(self.score(session, chunk)))
            finally:
                runner.run(session.close())

    def begin(self) -> None:
        """What was not asked is no silence."""
        self.answered_at = time.monotonic()

    async def score(
        self, session: aiohttp.ClientSession, chunk: Chunk
    ) -> tuple[list[Scored], list[dict[str, Any]]]:
        numbered = list(chunk.rows())
        rows, bad = checked(numbered)
        left_out = {row["row"] for row in bad}
        numbers = [row.number for row in numbered if row.number not in left_out]
        answers: list[Scored | str] = [""] * len(rows)
        waiting = iter(enumerate(rows))
        under_way: set[asyncio.Task[None]] = set()

        async def ask(index: int, row: CustomerRow) -> None:
            answers[index] = await self.ask(session, row)

        try:
            for index, row in waiting:
                under_way.add(asyncio.ensure_future(ask(index, row)))
                while len(under_way) >= max(int(self.pace.limit), 1):
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
            await asyncio.gather(*under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        return _divided(rows, numbers, answers, bad)

    async def ask(self, session: aiohttp.ClientSession, row: CustomerRow) -> Scored | str:
        """What the model says of this customer, or why it says nothing."""
        body = row.model_dump_json().encode()
        failures = 0
        while True:
            await asyncio.sleep(max(self.pace.not_before - time.monotonic(), 0))
            try:
                async with session.post(
                    self.url, data=body, headers={"Content-Type": "application/json"}
                ) as answer:
                    content = await answer.read()
                    status, backend = answer.status, answer.headers.get("x-crossfade-backend", "")
                    wait = _seconds(answer.headers.get("Retry-After"))
            except (aiohttp.ClientError, OSError) as error:
                self.check_silence(error)
                failures += 1
                await asyncio.sleep(min(_FIRST_WAIT * 2**failures, 5.0))
                continue
            if status in BUSY:
                self.waited += 1
                self.check_silence(f"HTTP {status}")
                self.pace.slow_down(time.monotonic(), wait)
                continue
            self.answered_at = time.monotonic()
            if status == 200:
                self.pace.succeeded()
                return _scored(row, content, backend)
            failures += 1
            if (status not in AGAIN and status < 500) or failures >= MOST_ATTEMPTS:
                return f"HTTP {status}: {content[:300].decode(errors='replace').strip()}"
            await asyncio.sleep(_FIRST_WAIT * 2**failures)

    def check_silence(self, what: object) -> None:
        if time.monotonic() - self.answered_at > self.give_up:
            raise BatchError(
                f"{self.url}: no answer for {self.give_up:g} s ({what}); the same command goes on from here"
            )


def connect() -> aiohttp.ClientSession:
    """Needs a running loop."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120))


async def _connected() -> aiohttp.ClientSession:
    return connect()


def _divided(
    rows: Sequence[CustomerRow],
    numbers: Sequence[int],
    answers: Sequence[Scored | str],
    bad: list[dict[str, Any]],
) -> tuple[list[Scored], list[dict[str, Any]]]:
    scored = []
    for row, number, answer in zip(rows, numbers, answers, strict=True):
        if isinstance(answer, str):
            bad.append(bad_row(number, answer, row.model_dump()))
        else:
            scored.append(answer)
    return scored, sorted(bad, key=lambda row: row["row"])


class _Answer(msgspec.Struct):
    churn_probability: float
    risk_level: str = ""
    model_version: str = ""


def _scored(row: CustomerRow, content: bytes, backend: str) -> Scored | str:
    """`backend`: who answered, for a model that does not say its version."""
    try:
        answer = msgspec.json.decode(content, type=_Answer)
    except (msgspec.DecodeError, ValueError) as error:
        return f"the answer cannot be read: {error}"
    if not 0 <= answer.churn_probability <= 1:
        return f"the answer has the probability {answer.churn_probability}"
    level = answer.risk_level or risk_level(answer.churn_probability)
    return Scored(row.customer_id, answer.churn_probability, level, answer.model_version or backend)


def _seconds(retry_after: str | None) -> float:
    """A date is taken for a second: whoever is busy says so again."""
    try:
        return max(float(retry_after or 1), 0.0)
    except ValueError:
        return 1.0
