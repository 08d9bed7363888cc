"""Samples for the observer: which exchanges it gets, and their bytes. Nothing is read here.

Limits: READ exchanges of each route, worker and report, and BYTES of all routes together, in order of arrival. What
comes when a limit is reached is passed over, whichever backend it is of, so the comparison stays unbiased. Each
answer that is passed over is counted.
"""

from __future__ import annotations

from random import random
from time import time
from typing import TYPE_CHECKING, Any

from crossfade.dataplane.kept_answer import LARGEST, KeptAnswer, whole
from crossfade.quality.answer import RawAnswer
from crossfade.quality.samples import AnswerSample, Asked, CopySample, PairSample
from crossfade.routing.ledger import BUCKETS

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState
    from crossfade.routing.router import AssignedBackend

READ = 640  # exchanges of a route, in a worker's report
BYTES = 4_194_304  # of answers and requests, in a worker's report


class Samples:
    """Samples since the last report."""

    def __init__(self) -> None:
        self.reports = 0  # so many have been taken
        self.read: dict[str, int] = {}  # exchanges, by route
        self.size = 0
        self.waiting: list[Any] = []
        self.passed = 0  # answers above a limit

    def take(self) -> list[Any]:
        """The samples since the last call. The limits start again."""
        taken, self.waiting = self.waiting, []
        self.reports += 1
        self.read.clear()
        self.size = 0
        return taken

    def take_passed(self) -> int:
        passed, self.passed = self.passed, 0
        return passed

    def answer(self, exchange: ExchangeState, assigned: AssignedBackend, now: float) -> AnswerSample | None:
        """Sample an exchange that has ended. One takes room whether it was answered or not. None if it is passed over."""
        route = exchange.route
        if route.sample < BUCKETS and random() * BUCKETS >= route.sample:
            return None
        answered, read = exchange.status // 100 == 2, self.read.get(route.name, 0)
        if read >= READ or self.size > BYTES:
            self.passed += answered
            return None
        self.read[route.name] = read + 1
        by = exchange.answered_by
        raw = answer_of(exchange, now) if answered else None
        own = answered and not exchange.fell_back
        asked = asked_of(exchange)
        sample = AnswerSample(assigned.cell_of(exchange.started), asked, by, own, raw)
        self.waiting.append(sample)
        self.count(asked, (raw,))
        return sample

    def pair(self, asked: Asked, live: RawAnswer, copied: CopySample, sample: AnswerSample | None) -> None:
        """`sample`: of the exchange, if it has not been taken: it is one sample then."""
        if sample is not None:
            sample.copies.append(copied)
            self.count(None, (copied.copy, copied.second))
        else:
            self.waiting.append(PairSample(asked, live, copied))
            self.count(asked, (live, copied.copy, copied.second))

    def count(self, asked: Asked | None, answers: tuple[RawAnswer | None, ...]) -> None:
        """Their bytes."""
        if asked is not None and asked.body is not None:
            self.size += len(asked.body)
        for raw in answers:
            if raw is not None and raw.body is not None:
                self.size += len(raw.body)


def asked_of(exchange: ExchangeState) -> Asked:
    route, head = exchange.route, exchange.head
    body = None
    if route.wants_body and exchange.kept <= LARGEST:
        body = exchange.whole_body()
        if len(body) < exchange.kept:  # above the replay limit, it was not kept
            body = None
    block = head.block if route.wants_head else b""
    return Asked(exchange.request_id, time(), head.start.target, exchange.key, block, body)


def answer_of(exchange: ExchangeState, now: float) -> RawAnswer:
    """The answer that the client got."""
    head, kept = exchange.answer, exchange.kept_answer
    block = head.block if head is not None else b""
    return raw_answer(exchange.status, block, exchange.said, kept, now - exchange.started, exchange.blamed)


def raw_answer(
    status: int, block: bytes, said: bytes, kept: KeptAnswer | None, seconds: float, broken: bool
) -> RawAnswer:
    """`said`: the body of an answer that came in one part; of another, what is `kept`."""
    if kept is not None:
        return kept.answer(status, block, seconds, broken)
    return whole(status, block, said, seconds)
