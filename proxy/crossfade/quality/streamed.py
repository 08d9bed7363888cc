"""An answer that is an event stream: what it says, and when.

Rule: completions of OpenAI's API are known by their shape; of any other stream the last event that is JSON is the
document, and each event with data is a piece of content. What is cut off at the worker's limit has times, but no rows.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Final

from crossfade.quality.answer import Answer, RawAnswer
from crossfade.quality.encodings import unpack
from crossfade.quality.event_stream import Event, Events, events_of
from crossfade.quality.json_document import decode, says_error
from crossfade.quality.json_paths import read_paths
from crossfade.quality.openai import with_declared
from crossfade.quality.openai_stream import Completion
from crossfade.quality.outputs import RowBuilder
from crossfade.quality.prediction import Prediction
from crossfade.quality.stream_times import Arrivals, times_of
from crossfade.quality.unreadable import BROKEN, SIZE, SSE_ERROR, Problem, Unreadable

_END: Final = b"[DONE]"


def read_stream(raw: RawAnswer, body: bytes, coding: str, prediction: Prediction, largest: int) -> Answer:
    """`body`: of `raw`, as it came. Raises Unreadable."""
    ends = tuple(accumulate([min(max(end, 0), len(body)) for end, _ in raw.pieces], max))
    content, ends = unpack(body, coding, largest, ends, whole=not (raw.cut or raw.broken))
    if len(content) > largest:
        raise Unreadable(SIZE)
    arrivals = Arrivals(ends, [seconds for _, seconds in raw.pieces], raw.seconds)
    stream = _Stream(events_of(content), arrivals)
    if stream.is_completion or prediction.protocol == "openai":
        return with_declared(stream.completed(raw.cut, raw.broken), prediction)
    return stream.other(raw.cut, raw.broken, prediction)


class _Stream:
    """All events of a stream, read once."""

    def __init__(self, events: Events, arrivals: Arrivals) -> None:
        self.completion = Completion()
        self.is_completion = False
        self.done = False
        self.problem: Problem | None = None
        self.document: Any = None
        self.moments: list[float] = []  # of content
        self.data_moments: list[float] = []  # of events with data, for a stream that is no completion
        self.too_many = events.more
        for event in events.events:
            self._add(event, arrivals)

    def _add(self, event: Event, arrivals: Arrivals) -> None:
        if event.data == _END:
            self.done = True
            return
        try:
            document = decode(event.data)
        except Unreadable as error:
            document = None
            if self.is_completion:
                self._note(error.problem)
        if event.kind == b"error" or _is_error(document):
            self._note(SSE_ERROR)
            return
        moment = arrivals.at(event.end)
        self.data_moments.append(moment)
        if document is not None:
            self.document = document
        if isinstance(document, dict) and "choices" in document:
            self.is_completion = True
            if self.completion.add(document):
                self.moments.append(moment)

    def _note(self, problem: Problem) -> None:
        """An error goes before what could not be read."""
        if self.problem is None or (problem.error and not self.problem.error):
            self.problem = problem

    def completed(self, cut: bool, broken: bool) -> Answer:
        completion = self.completion
        failed = self.problem is not None and bool(self.problem.error)
        ended = completion.finished or (self.done and not failed)
        partial = (cut or self.too_many) and not ended
        stopped = not ended and (broken or not partial)
        builder = RowBuilder()
        if self.problem is not None:
            builder.note(self.problem)
        if stopped:
            builder.note(BROKEN)
        if partial:
            builder.note(SIZE)
        else:
            completion.add_rows(builder, ended)
        times = times_of(self.moments, completion.tokens, stopped)
        return Answer(
            tuple(builder.rows),
            builder.error,
            builder.unread,
            completion.document() if ended else None,
            completion.reasons(),
            completion.prompt_tokens,
            completion.tokens,
            times,
        )

    def other(self, cut: bool, broken: bool, prediction: Prediction) -> Answer:
        """A stream of another API: it says its end by ending."""
        times = times_of(self.data_moments, None, broken and not self.done)
        if self.problem is not None and self.problem.error:
            return Answer(error=self.problem.error, document=self.document, stream=times)
        if cut or self.too_many or broken:
            unread = (BROKEN if broken else SIZE).unread
            return Answer(unread=unread, document=self.document, stream=times)
        found = read_paths(self.document, prediction)
        return Answer(found.rows, found.error, found.unread, found.document, stream=times)


def _is_error(document: Any) -> bool:
    return says_error(document) or (isinstance(document, dict) and document.get("object") == "error")
