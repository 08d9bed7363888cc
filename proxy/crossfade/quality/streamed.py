"""An answer that is an event stream or JSON in lines: what it says, and when.

Rule: texts of OpenAI's APIs and Ollama's are known by their shape. Of any other event stream the last event that is JSON is the
document; of other lines each is a row. Each event with data is a piece of content. What is cut off at the worker's limit has
times, but no rows.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Final, Protocol

from msgspec.structs import replace

from crossfade.quality.answer import Answer, RawAnswer
from crossfade.quality.encodings import unpack
from crossfade.quality.event_stream import Event, Events, events_of
from crossfade.quality.head_fields import HeadFields
from crossfade.quality.json_document import decode, says_error
from crossfade.quality.json_lines import MEDIA_TYPES as JSON_LINES
from crossfade.quality.json_lines import lines_of, read_lines
from crossfade.quality.json_paths import read_paths
from crossfade.quality.ollama import OllamaLines
from crossfade.quality.openai import with_declared
from crossfade.quality.openai_responses import ResponseEvents
from crossfade.quality.openai_stream import Completion
from crossfade.quality.outputs import RowBuilder
from crossfade.quality.prediction import Prediction
from crossfade.quality.stream_times import Arrivals, times_of
from crossfade.quality.unreadable import BROKEN, SIZE, SSE_ERROR, Problem, Unreadable

_END: Final = b"[DONE]"
_FAILURES: Final = ("error", "response.failed")  # of OpenAI's responses
_MARKS: Final = (b"text/event-stream", b"ndjson", b"jsonl")  # of the usual answer, none is in its head
MEDIA_TYPES: Final = JSON_LINES | {"text/event-stream"}


def is_stream(head: HeadFields) -> bool:
    return any(mark in head.lowered for mark in _MARKS) and _media_type(head) in MEDIA_TYPES


def _media_type(head: HeadFields) -> str:
    return (head.find(b"content-type") or "").partition(";")[0].strip().lower()


class _Text(Protocol):
    """A text in an API that is known, as far as its events have come."""

    @property
    def tokens(self) -> int | None:
        """Of the output, as the model counts them."""

    @property
    def prompt_tokens(self) -> int | None: ...

    def takes(self, document: dict[str, Any]) -> bool:
        """Whether this is an event of the API."""

    def add(self, document: dict[str, Any]) -> bool:
        """Whether the event has content."""

    def add_rows(self, builder: RowBuilder, ended: bool) -> None:
        """What has not ended is not called empty."""

    def document(self) -> Any:
        """As if the answer had come whole, so that its fields are found at the same paths."""

    def reasons(self) -> tuple[str, ...]:
        """Why it ended."""

    @property
    def finished(self) -> bool:
        """Whether its end was said."""


def read_stream(
    raw: RawAnswer, body: bytes, head: HeadFields, prediction: Prediction, largest: int
) -> Answer:
    """`body`: of `raw`, as it came. Raises Unreadable."""
    coding, in_lines = head.find(b"content-encoding") or "", _media_type(head) in JSON_LINES
    ends = tuple(accumulate([min(max(end, 0), len(body)) for end, _ in raw.pieces], max))
    whole = not (raw.cut or raw.broken)
    content, ends = unpack(body, coding, largest, ends, whole=whole)
    if len(content) > largest:
        raise Unreadable(SIZE)
    arrivals = Arrivals(ends, [seconds for _, seconds in raw.pieces], raw.seconds)
    stream = _Stream(lines_of(content, whole) if in_lines else events_of(content), arrivals, in_lines)
    if stream.text is not None or prediction.protocol == "openai":
        return with_declared(stream.completed(raw.cut, raw.broken), prediction)
    return stream.other(raw.cut, raw.broken, prediction)


class _Stream:
    """All events of a stream, read once. `in_lines`: each event is a line that is JSON."""

    def __init__(self, events: Events, arrivals: Arrivals, in_lines: bool) -> None:
        self.text: _Text | None = None
        self.in_lines = in_lines
        self.lines: list[Any] = []  # their documents
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
            if self.in_lines or self.text is not None:
                self._note(error.problem)
        if event.kind == b"error" or _is_error(document):
            self._note(SSE_ERROR)
            return
        moment = arrivals.at(event.end)
        self.data_moments.append(moment)
        if document is not None:
            self.document = document
        if self.in_lines:
            self.lines.append(document)
        if isinstance(document, dict):
            self.text = self.text or _text_of(document)
            if self.text is not None and self.text.takes(document) and self.text.add(document):
                self.moments.append(moment)

    def _note(self, problem: Problem) -> None:
        """An error goes before what could not be read."""
        if self.problem is None or (problem.error and not self.problem.error):
            self.problem = problem

    def completed(self, cut: bool, broken: bool) -> Answer:
        completion = self.text or Completion()
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
        if self.in_lines:
            found, problem = read_lines(self.lines, prediction), self.problem or Problem()
            return replace(found, unread=problem.unread or found.unread, stream=times)
        return replace(read_paths(self.document, prediction), stream=times)


def _text_of(document: dict[str, Any]) -> _Text | None:
    """By the first event with a shape that is known."""
    texts: tuple[_Text, ...] = (Completion(), ResponseEvents(), OllamaLines())
    return next((text for text in texts if text.takes(document)), None)


def _is_error(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    named = document.get("object") == "error" or document.get("type") in _FAILURES
    return named or says_error(document)
