"""What one answer says: the bytes as a worker passed them on, and the typed outputs that are read from them.

Rule: a batch has one row of outputs for each of its rows. What cannot be read has a reason, and never raises.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal["label", "score", "vector", "number", "text", "embedding"]
Value = bool | int | float | str | tuple[float, ...]
Decision = bool | int | float | str


class RawAnswer(msgspec.Struct, frozen=True, array_like=True):
    """`status` 0: there is no answer. `head`: the lines of the response's head behind the status line, each with its end.

    `body`: at most the bytes that a worker keeps of an answer; None: there were more. Of an event stream, the beginning
    (`cut`: there were more). `pieces`: of an event stream, when its bytes came: (bytes up to here, seconds since the request
    was sent). `seconds`: until the answer's end. `broken`: it ended too early.
    """

    status: int
    head: bytes = b""
    body: bytes | None = b""
    seconds: float = 0.0
    cut: bool = False
    pieces: tuple[tuple[int, float], ...] = ()
    broken: bool = False


class Output(msgspec.Struct, frozen=True, array_like=True):
    """One typed value of one row. `name`: of the tensor, column or field; empty where a protocol has one output only."""

    kind: Kind
    value: Value
    name: str = ""


Row = tuple[Output, ...]


class StreamTimes(msgspec.Struct, frozen=True, array_like=True):
    """Of a streamed answer; seconds. `gaps`: between pieces of content, after the first one. `stalls`: gaps of a second or more.

    `first_token`: from the request to the first piece of content; None: none came. `broken`: it ended behind the first
    piece of content, and before its end was said.
    """

    first_token: float | None
    gaps: tuple[float, ...] = ()
    stalls: int = 0
    tokens_per_second: float | None = None
    broken: bool = False


class Answer(msgspec.Struct, frozen=True):
    """`error`: the class of an error inside an answer with a status of 2xx; empty: none. `unread`: why it was not read.

    `document`: the decoded JSON, to compare its fields. `finish`: why a text ended, one for each choice. `tokens`: of the
    output, as the model counts them.
    """

    rows: tuple[Row, ...] = ()
    error: str = ""
    unread: str = ""
    document: Any = None
    finish: tuple[str, ...] = ()
    prompt_tokens: int | None = None
    tokens: int | None = None
    stream: StreamTimes | None = None


def score_of(row: Row) -> float | None:
    """The first score or number of the row; of a vector of two, as classifiers give it, the second share."""
    for output in row:
        if output.kind in ("score", "number") and isinstance(output.value, int | float):
            return float(output.value)
    for output in row:
        if output.kind == "vector" and isinstance(output.value, tuple) and len(output.value) == 2:
            return output.value[1]
    return None


def decision_of(row: Row, threshold: float | None) -> Decision | None:
    """Yes or no where there is a threshold and a score; else the label; else the place of the largest share of a vector."""
    if threshold is not None:
        score = score_of(row)
        return None if score is None else score >= threshold
    for output in row:
        if output.kind == "label" and not isinstance(output.value, tuple):
            return output.value
    for output in row:
        if output.kind == "vector" and isinstance(output.value, tuple) and output.value:
            return output.value.index(max(output.value))
    return None
