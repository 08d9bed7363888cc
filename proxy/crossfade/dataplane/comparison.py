"""Pairs of answers: the champion's answer to a client and the challenger's answer to the copy, for the observer.

Rule (law 17): a pair begins with each copy, and ends as a sample, as lost, or dropped with a reason. Where the
challenger rejects the copy or fails, that is its answer. An answer that the proxy lost (too large, too late, no room
for the copy) is counted as lost, with the side that lost it.
Whether the champion is asked twice, to measure its noise, is an independent random draw (stats.pairs). Then the second
request and the copy are sent together, after the client has its answer. A second answer that never comes is an answer
without a decision.
Limits: MAX_WAITING_PAIRS pairs at a time, each for PATIENCE seconds, and for each answer the bytes that `kept_answer` keeps (for
copies, their number in flight is bounded).
"""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING

from crossfade.dataplane.sampling import BYTES, answer_of, asked_of
from crossfade.quality.answer import RawAnswer
from crossfade.quality.samples import AnswerSample, Asked, CopySample
from crossfade.routing.ledger import BUCKETS
from crossfade.stats.pairs import Pair

if TYPE_CHECKING:
    from crossfade.dataplane.recorder import Recorder
    from crossfade.dataplane.state import ExchangeState
    from crossfade.routing.router import CompiledRoute
    from crossfade.routing.snapshot import Mirror

BEGUN = 640  # pairs begun per report and route, in one worker
MAX_WAITING_PAIRS = 1024  # pairs that wait for an answer, in one worker
PATIENCE = 60.0  # seconds from the request until an incomplete pair is dropped
NO_ANSWER = RawAnswer(0)


class Comparison:
    """One incomplete pair."""

    def __init__(
        self,
        recorder: Recorder,
        route: CompiledRoute,
        key: int | None,
        champion: str,
        mirror: Mirror,
        routed_at: float,
        now: float,
    ) -> None:
        # here: mypyc leaves such a union unset in the body of a class
        self.asked: Asked | None = None
        self.live: RawAnswer | None = None
        self.copied: RawAnswer | None = None
        self.second: RawAnswer | None = None
        self.sample: AnswerSample | None = None  # of the exchange
        self.report = 0  # that has this sample
        self.ended = False
        self.recorder = recorder
        self.route = route
        self.key = key
        self.champion, self.challenger, self.key_of_copy = champion, mirror.to, mirror.key
        self.routed_at = routed_at
        self.chance = mirror.noise / BUCKETS
        self.twice = random() < self.chance
        self.deadline = now + PATIENCE

    def on_copy(self, answer: RawAnswer) -> None:
        """Take the challenger's answer to its copy; status 0 if there is no answer."""
        if answer.status == 200 and answer.body is None:
            self.lose(True, "pair_body_size")
            return
        self.copied = answer
        self.join()

    def on_sample(self, sample: AnswerSample) -> None:
        self.sample, self.report = sample, self.recorder.samples.reports

    def on_live(self, exchange: ExchangeState, now: float) -> bool:
        """Take the live answer. Returns whether the champion must be asked a second time."""
        if self.ended:
            return False
        if (
            exchange.abandoned
        ):  # the connection to the champion is closed with the client's, so that it can stop too
            self.drop("pair_abandoned")
            return False
        if exchange.fell_back or exchange.blamed or exchange.status != 200:
            self.drop("pair_status")
            return False
        sample = self.sample
        answer = sample.answer if sample is not None else None
        if answer is None:
            answer = answer_of(exchange, now)
        if answer.body is None:
            self.lose(False, "pair_body_size")
            return False
        self.asked, self.live = asked_of(exchange) if sample is None else sample.asked, answer
        return self.twice

    def on_second(self, answer: RawAnswer) -> None:
        self.second = answer
        self.join()

    def join(self) -> None:
        """Pass the pair on if all its answers have arrived."""
        asked, live, copied, second = self.asked, self.live, self.copied, self.second
        if self.ended or asked is None or live is None or copied is None or (self.twice and second is None):
            return
        samples = self.recorder.samples
        if samples.size > BYTES:
            self.drop("pairs")
            return
        self.end()
        cell = self.route.shadows[self.challenger].cell_of(self.routed_at)
        sample = self.sample if self.report == samples.reports else None
        samples.pair(asked, live, CopySample(cell, self.champion, self.chance, copied, second), sample)

    def lose(self, challenger: bool, reason: str) -> None:
        """Count the pair as one in which the answer of this side was lost."""
        if not self.ended:
            self.drop(reason)
            pair = Pair(self.key, False, None, 0.0, None, False, challenger)
            self.recorder.paired(self.route, self.challenger, pair)

    def give_up(self) -> None:
        """The deadline has passed: count the pair if only the second answer is missing, else as lost."""
        if self.live is not None and self.copied is not None:
            self.second = NO_ANSWER
            self.join()
        elif self.live is not None or self.copied is not None:
            self.lose(self.live is not None, "pair_time")
        self.drop("pair_time")

    def drop(self, reason: str) -> None:
        if not self.ended:
            self.end()
            self.recorder.dropped(reason, 1)

    def end(self) -> None:
        self.ended = True
