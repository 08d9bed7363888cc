"""Pairs of decisions: the champion's answer to a client and the challenger's answer to the copy.

Rule (law 17): a pair counts if the champion's answer has status 200 and contains a decision. Where the challenger then
rejects the copy, fails, or says no decision, it has changed the decision. An answer that the proxy lost (too large, too
late, no room for the copy) changes nothing; it is counted as lost, with the side that lost it.
Whether the champion is asked twice, to measure its noise, is an independent random draw (stats.pairs). The second
request is sent after the client has its answer. A second answer that has no decision, or never comes, counts as a
disagreement of the champion with itself, in the challenger's favour.
Limits: MAX_WAITING_PAIRS pairs at a time, each for PATIENCE seconds, and for each answer the bytes that `observe`
keeps (for copies, their number in flight is bounded). Each pair that begins is counted, lost, or dropped with a reason.
"""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING

from crossfade.routing.answers import PredictedClass
from crossfade.routing.ledger import BUCKETS
from crossfade.stats.pairs import Pair

if TYPE_CHECKING:
    from crossfade.dataplane.outcome import Outcome
    from crossfade.dataplane.recorder import Recorder
    from crossfade.routing.router import CompiledRoute
    from crossfade.routing.snapshot import Mirror

BEGUN = 640  # pairs begun per report and route, in one worker
MAX_WAITING_PAIRS = 1024  # pairs that wait for an answer, in one worker
PATIENCE = 60.0  # seconds from the request until an incomplete pair is dropped


class Comparison:
    """One incomplete pair. `live` and `copied`: decisions, None where an answer has none. `second`: whether the champion's
    second answer differs; None until that is known.
    """

    has_live = False
    has_copy = False
    second: bool | None = None
    ended = False

    def __init__(
        self,
        recorder: Recorder,
        route: CompiledRoute,
        key: int | None,
        champion: str,
        mirror: Mirror,
        now: float,
    ) -> None:
        self.live: PredictedClass | None = (
            None  # here: mypyc leaves such a union unset in the body of a class
        )
        self.copied: PredictedClass | None = None
        self.recorder = recorder
        self.route = route
        self.key = key
        self.champion, self.challenger = champion, mirror.to
        self.chance = mirror.noise / BUCKETS
        self.twice = random() < self.chance
        self.deadline = now + PATIENCE

    def on_copy(self, status: int, said: bytes | None) -> None:
        """Take the challenger's answer to its copy; status 0 if there is no answer."""
        if status == 200 and said is None:
            self.lose(True, "pair_body_size")
            return
        self.copied, self.has_copy = self.read(status, said), True
        self.join()

    def on_live(self, outcome: Outcome) -> bool:
        """Take the live answer. Returns whether the champion must be asked a second time."""
        if self.ended:
            return False
        if outcome.fell_back or outcome.blamed or outcome.status != 200:
            self.drop("pair_status")
            return False
        if outcome.said is None:
            self.lose(False, "pair_body_size")
            return False
        self.live, self.has_live = self.read(outcome.status, outcome.said), True
        return self.live is not None and self.twice

    def on_second(self, status: int, said: bytes | None) -> None:
        self.second = self.read(status, said) != self.live
        self.join()

    def read(self, status: int, said: bytes | None) -> PredictedClass | None:
        reader = self.route.reader
        if status != 200 or said is None or reader is None:
            return None
        return reader.decision(reader.read(said))

    def join(self) -> None:
        """Count the pair if all its answers have arrived."""
        if self.ended or not self.has_live or not self.has_copy:
            return
        if self.live is None:
            if self.copied is None:
                self.drop("pair_decision")
            else:
                self.lose(False, "pair_decision")
            return
        if self.twice and self.second is None:
            return
        self.end()
        changed = self.copied != self.live
        raised = self.copied if isinstance(self.copied, bool) and isinstance(self.live, bool) else None
        pair = Pair(self.key, changed, raised, self.chance, self.second, self.copied is None)
        self.recorder.paired(self.route, self.challenger, pair)

    def lose(self, challenger: bool, reason: str) -> None:
        """Count the pair as one in which the answer of this side was lost."""
        if not self.ended:
            self.drop(reason)
            pair = Pair(self.key, False, None, 0.0, None, False, challenger)
            self.recorder.paired(self.route, self.challenger, pair)

    def give_up(self) -> None:
        """The deadline has passed: count the pair if only the second answer is missing, else as lost."""
        if self.live is not None and self.has_copy:
            self.second = True
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
