"""Counts and observations of answers to clients.

Rule: an answer counts once as a request, whatever rows it has: one row, drawn by the request's id, stands for them. The
fallback's answer gives an observation, and counts for no backend. An answer that the proxy could not keep or unpack is
no fault of the backend.
"""

from __future__ import annotations

from crossfade.observer.drift import DriftWatch
from crossfade.observer.outputs import Outputs, storable
from crossfade.quality.answer import Answer, Row, StreamTimes, decision_of, score_of
from crossfade.quality.comparing import LOST, drawn, row_of
from crossfade.quality.prediction import Prediction
from crossfade.quality.reading import read_answer
from crossfade.quality.samples import AnswerSample, Asked
from crossfade.quality.segments import segment_values
from crossfade.stats.counts import ERROR, UNREADABLE, Cell, CountsTable, Events, outcome_of
from crossfade.stats.observation import Observation
from crossfade.stats.scores import bucket_of_score
from crossfade.stats.streams import Streams, StreamValues

OBSERVED = 160  # observations of a route, for each report of a worker
KEYS_KEPT = 4096  # keys of events of a route and kind, for each report of a worker


class AnswerCounts:
    """`begin` for each report, then `add` for each sample. `outputs`: of routes with a prediction log."""

    def __init__(self, table: CountsTable, outputs: Outputs) -> None:
        self.table = table
        self.outputs = outputs
        self.drift = DriftWatch()
        self.observations: list[Observation] = []
        self.observed: dict[str, int] = {}  # by route
        self.keys_kept: dict[tuple[str, str], int] = {}

    def begin(self) -> None:
        self.observed.clear()
        self.keys_kept.clear()

    def take(self) -> list[Observation]:
        taken, self.observations = self.observations, []
        return taken

    def add(self, sample: AnswerSample, prediction: Prediction) -> Answer | None:
        """Returns what it says; None where a worker kept nothing of it."""
        cell, raw = self.table.cell(sample.cell), sample.answer
        cell.read += 1
        self.drift.add_input(sample)
        if raw is None:
            return None
        own = sample.own and not raw.broken
        cell.answers += own
        if raw.body is None:
            cell.scoreless += own and prediction.expects_score
            self.table.drop("body_size", 1)
            return None
        answer = read_answer(raw, sample.asked.target, prediction)
        row = row_of(answer.rows, sample.asked.request_id)
        self.observe(sample, prediction, answer, row)
        if answer.stream is not None and sample.own:
            add_stream(cell, sample.asked, answer, answer.stream)
        if own:
            score = score_of(row)
            self.drift.add_score(sample, score)
            self.count(cell, sample.asked.key, prediction, answer, score)
        return answer

    def count(
        self, cell: Cell, key: int | None, prediction: Prediction, answer: Answer, score: float | None
    ) -> None:
        """Count the score of the assigned backend's own answer, or why it says none."""
        if score is None:
            cell.scoreless += prediction.expects_score
        elif key is None:
            cell.scores.add(score)
        else:
            cell.keyed_scores.append((key, bucket_of_score(score)))
        if answer.error:
            self.add_error(cell, key, answer.error)
            cell.recent.append(outcome_of(key, True))
        elif answer.unread in LOST:
            self.table.drop(answer.unread, 1)
        elif answer.unread:
            self.table.drop(UNREADABLE, 1)
            cell.unreadable += 1
            self.add_event(cell, UNREADABLE, key)

    def add_error(self, cell: Cell, key: int | None, kind: str) -> None:
        """An error inside an answer with status 200. The worker has counted its request, as one that succeeded."""
        cell.errors += 1
        cell.faults[kind] = cell.faults.get(kind, 0) + 1
        self.add_event(cell, ERROR, key)

    def add_event(self, cell: Cell, what: str, key: int | None) -> None:
        """Without a key, the cell's own number of such events has it."""
        if key is None:
            return
        events = cell.events.setdefault(what, Events())
        events.keyed += 1
        kept = self.keys_kept.get((cell.route, what), 0)
        if kept < KEYS_KEPT:
            self.keys_kept[cell.route, what] = kept + 1
            events.keys.append(key)
        else:
            self.table.drop("event_keys", 1)

    def observe(self, sample: AnswerSample, prediction: Prediction, answer: Answer, row: Row) -> None:
        score, label = score_of(row), storable(decision_of(row, None))
        route, backend, _, version, _ = sample.cell
        asked, is_logged = sample.asked, route in self.outputs.logged
        is_observed = (score is not None or label is not None) and self.may_observe(route)
        if not is_observed and not is_logged:
            return
        segment = segments(prediction, answer, asked)
        if is_logged:
            self.outputs.add(route, sample.answered_by, asked, row, segment)
        if not is_observed:
            return
        self.observations.append(
            Observation(
                asked.request_id.decode("ascii", "replace"), asked.at, route, backend, sample.answered_by,
                version, asked.key, score, label, segment,
            )
        )  # fmt: skip

    def may_observe(self, route: str) -> bool:
        """Take one observation of this report's limit."""
        n = self.observed.get(route, 0)
        self.observed[route] = n + 1
        if n >= OBSERVED:
            self.table.drop("observations", 1)
        return n < OBSERVED


def segments(prediction: Prediction, answer: Answer, asked: Asked) -> tuple[str, ...]:
    if not prediction.segment:
        return ()
    return segment_values(prediction, answer, asked.target, asked.head, asked.body)


def add_stream(cell: Cell, asked: Asked, answer: Answer, times: StreamTimes) -> None:
    """Its length is in tokens, as the model counts them, else in pieces of content."""
    cell.streams = streams = cell.streams or Streams()
    length = answer.tokens
    if length is None and times.first_token is not None:
        length = len(times.gaps) + 1
    gap = times.gaps[drawn(asked.request_id, len(times.gaps))] if times.gaps else None
    values = StreamValues(
        asked.key,
        times.broken,
        times.first_token,
        gap,
        times.tokens_per_second,
        None if times.broken else length,
    )
    streams.add(values)
    for each in times.gaps:
        streams.token_gap.add(each)
    streams.stalls += times.stalls
    streams.tokens += answer.tokens or 0
    streams.prompt_tokens += answer.prompt_tokens or 0
    for why in answer.finish:
        streams.finish[why] = streams.finish.get(why, 0) + 1
    cell.stream_values.append(values)
