"""Reads answers after the client has them: scores and unreadable answers for the counts, and observations.

Limits: 64 KiB per answer; 640 exchanges and 160 observations per route, worker and report, all backends
together, in order of arrival. So a skip does not depend on the backend, and the comparison stays unbiased.
Each skipped answer is counted with its reason. The fallback's answer gives an observation, but no score for
the assigned backend. A compressed answer is not read, so it is not unreadable either.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from crossfade.stats.counts import UNREADABLE
from crossfade.stats.observation import Observation
from crossfade.stats.scores import bucket_of_score

if TYPE_CHECKING:
    from crossfade.dataplane.outcome import Outcome
    from crossfade.http1.response_head import ResponseHead
    from crossfade.routing.answers import AnswerReader, PredictedClass
    from crossfade.routing.router import AssignedBackend, CompiledRoute
    from crossfade.stats.counts import Cell

LARGEST = 65_536  # bytes; a larger answer is not read
READ = 640  # exchanges per route, worker and report
OBSERVED = 160  # observations per route, worker and report
LARGEST_INT = 2**63  # a report can carry integers below this limit


def longer(said: bytes | None, data: bytes) -> bytes | None:
    """Append a part to the kept body of an answer. None if the body is too large."""
    return said + data if said is not None and len(said) + len(data) <= LARGEST else None


class AnswerLog:
    """Observations since the last report, and how many answers of each route were read."""

    def __init__(self) -> None:
        self.read: dict[str, int] = {}  # number of answers, by route
        self.observed: dict[str, int] = {}
        self.observations: list[Observation] = []
        self.dropped = 0  # observations above the limit
        self.passed = 0  # answers above the limit that were not looked at

    def begin_report(self) -> int:
        """Reset the limits per report. Returns the number of dropped observations."""
        self.read.clear()
        self.observed.clear()
        dropped, self.dropped = self.dropped, 0
        return dropped

    def has_room(self, route: str) -> bool:
        """Whether the next answer of the route is read. If not, it is counted here."""
        if self.read.get(route, 0) < READ:
            return True
        self.passed += 1
        return False

    def take_passed(self) -> int:
        passed, self.passed = self.passed, 0
        return passed

    def take(self) -> list[Observation]:
        taken, self.observations = self.observations, []
        return taken

    def add(self, outcome: Outcome, assigned: AssignedBackend, cell: Cell) -> str:
        """Read the answer. Returns UNREADABLE, or the reason if it was skipped, else an empty string.

        An exchange takes room whether it was answered or not: which ones are read does not depend on the backend.
        """
        route = outcome.route
        reader = route.reader if route is not None else None
        if route is None or reader is None:
            return ""
        name, answered = cell.route, outcome.status // 100 == 2
        own = answered and not outcome.fell_back and not outcome.blamed
        read = self.read.get(name, 0)
        if read >= READ:
            return "answers" if answered else ""
        self.read[name] = read + 1
        cell.read += 1
        cell.answers += own
        has_room = self.observed.get(name, 0) < OBSERVED
        if answered and not has_room:
            self.dropped += 1
        if not answered or not (own or has_room):
            return ""
        if outcome.said is None:
            cell.scoreless += own and reader.scores
            return "body_size"
        content = reader.read(outcome.said)
        score = reader.score(content)
        if has_room:
            self.observe(outcome, assigned, route, reader, score, content)
        return self.count(outcome, cell, reader, score, content) if own else ""

    def count(
        self, outcome: Outcome, cell: Cell, reader: AnswerReader, score: float | None, content: Any
    ) -> str:
        """Count the score of the assigned backend's own answer, or that it says no prediction."""
        if score is None:
            cell.scoreless += reader.scores
        elif outcome.key is None:
            cell.scores.add(score)
        else:
            cell.keyed_scores.append((outcome.key, bucket_of_score(score)))
        if reader.predicts(content, score):
            return ""
        return "encoded" if is_encoded(outcome.answer) else UNREADABLE

    def observe(
        self,
        outcome: Outcome,
        assigned: AssignedBackend,
        route: CompiledRoute,
        reader: AnswerReader,
        score: float | None,
        content: Any,
    ) -> None:
        label = storable(reader.label(content))
        if score is None and label is None:
            return
        name = route.spec.name
        self.observed[name] = self.observed.get(name, 0) + 1
        self.observations.append(
            Observation(
                outcome.request_id.decode("ascii"),
                time(),
                name,
                assigned.backend,
                outcome.answered_by,
                route.version,
                outcome.key,
                None if score is None else float(score),
                label,
                reader.segment(content),
            )
        )


def is_encoded(answer: ResponseHead | None) -> bool:
    """Whether the answer has a Content-Encoding."""
    return answer is not None and b"\ncontent-encoding:" in b"\n" + answer.block.lower()


def storable(label: PredictedClass | None) -> PredictedClass | None:
    if isinstance(label, int) and not -LARGEST_INT <= label < LARGEST_INT:
        return None
    return label
