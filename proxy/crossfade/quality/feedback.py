"""Feedback: what became known later of one prediction, as it is sent, and what becomes of it.

Rule: a row is judged alone, so a wrong row refuses only itself. What is known of a prediction depends on the rows and the
times at which they came, not on how they were cut into calls: the same row once more changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from crossfade.quality.outputs import LONGEST_LABEL

Value = bool | int | float | str

LABEL = "label"  # the name of feedback that names itself by `label`, or has no name
LONGEST_NAME = 128  # characters
LONGEST_ID = 4096  # characters; of a request's id, and of a sticky key
_INT64 = range(-(1 << 63), 1 << 63)


class BadRow(ValueError):
    """The row is not valid; the text says why."""


class Outcome(StrEnum):
    """What became of a valid row.

    `corrected`: in the place of another value. `conflicting`: there is another value that is no longer corrected.
    `unmatched`: no prediction yet. `late`: the prediction is as old as the horizon, so its labels have been counted.
    """

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CORRECTED = "corrected"
    CONFLICTING = "conflicting"
    UNMATCHED = "unmatched"
    LATE = "late"


WRITTEN = frozenset({Outcome.ACCEPTED, Outcome.CORRECTED})
MOST_ERRORS = 1000  # in one answer


class RowError(msgspec.Struct):
    """A row that was refused. `row`: counted from 1, in NDJSON the line."""

    row: int
    detail: str


class FeedbackAnswer(msgspec.Struct):
    """How many rows of a call became what. `invalid`: no feedback at all. `unmatched` ones wait a minute for their prediction.

    `errors`: of the first invalid, conflicting and late rows; `errors_left_off`: how many more there were.
    """

    accepted: int = 0
    duplicate: int = 0
    corrected: int = 0
    conflicting: int = 0
    unmatched: int = 0
    late: int = 0
    invalid: int = 0
    errors: list[RowError] = msgspec.field(default_factory=list)
    errors_left_off: int = 0

    @property
    def rows(self) -> int:
        valid = (
            self.accepted + self.duplicate + self.corrected + self.conflicting + self.unmatched + self.late
        )
        return valid + self.invalid

    def count(self, outcome: Outcome, row: int, detail: str = "") -> None:
        """`detail`: why the row was refused, if it was."""
        setattr(self, outcome.value, getattr(self, outcome.value) + 1)
        if detail:
            self._name(row, f"{outcome}: {detail}")

    def refuse(self, row: int, detail: str) -> None:
        """The row is invalid."""
        self.invalid += 1
        self._name(row, detail)

    def _name(self, row: int, detail: str) -> None:
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(RowError(row, detail))
        else:
            self.errors_left_off += 1


class Feedback(NamedTuple):
    """One valid row. It has `request_id`, or `key`, `at` and `route`. `route`: empty where it does not say it.

    `at`: the prediction is the latest of this id or key that had begun then, in seconds since the epoch.
    """

    request_id: bytes
    name: str
    value: Value
    route: str = ""
    key: bytes = b""
    at: float | None = None


class FeedbackRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became known later of one prediction: `value`, or `label`. The prediction is that of `request_id`; or else, of the `route` and
    the sticky `key`, the latest that had begun `at` (seconds since 1970).
    """

    request_id: str | None = None
    route: str | None = None
    key: str | int | float | None = None
    at: float | None = None
    name: str | None = None
    value: Value | None = None
    label: Value | None = None


_DECODE = msgspec.json.Decoder(FeedbackRow).decode


def read_row(sent: bytes | msgspec.Raw) -> Feedback:
    """One JSON object. Raises BadRow."""
    try:
        row = _DECODE(sent)
    except msgspec.ValidationError as error:
        raise BadRow(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRow(f"not JSON: {error}") from None
    except RecursionError:
        raise BadRow("nested too deep") from None
    name, value = _named(row)
    if row.request_id is not None:
        if row.key is not None:
            raise BadRow("request_id or key, not both")
        return Feedback(_text(row.request_id, "request_id"), name, value, row.route or "", at=row.at)
    if row.key is None:
        raise BadRow("request_id is missing (or route, key and at)")
    if not row.route or row.at is None:
        raise BadRow("with key, route and at are needed too")
    return Feedback(b"", name, value, row.route, _key(row.key), row.at)


def _named(row: FeedbackRow) -> tuple[str, Value]:
    value = row.value if row.label is None else row.label
    if value is None:
        raise BadRow("value is missing (or label)")
    if row.value is not None and row.label is not None:
        raise BadRow("value or label, not both")
    if row.label is not None and row.name not in (None, LABEL):
        raise BadRow(f"label has the name {LABEL}; give a value to another name")
    name = LABEL if row.name is None else row.name
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadRow(f"name must have 1 to {LONGEST_NAME} printable characters")
    if isinstance(value, str):
        if not value or len(value) > LONGEST_LABEL:
            raise BadRow(f"a text as value must have 1 to {LONGEST_LABEL} characters")
        _text(value, "value")
    elif isinstance(value, int) and value not in _INT64:
        raise BadRow("a whole number as value must have at most 64 bits")
    return name, value


def _text(text: str, field: str) -> bytes:
    if not text or len(text) > LONGEST_ID:
        raise BadRow(f"{field} must have 1 to {LONGEST_ID} characters")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadRow(f"{field} is no valid Unicode") from None


def _key(key: str | float) -> bytes:
    """As the router spells a sticky key of a JSON body."""
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    return _text(str(key), "key")


class Limits(NamedTuple):
    """Seconds: from a prediction to the last moment of its feedback, and from the first value to its last correction."""

    horizon: float
    correct_within: float


class Known(NamedTuple):
    """Of one prediction. `logged_at`: of its row in the log. `value`: of the same name; None: none yet. `first_at`: when it came."""

    logged_at: float
    value: Value | None = None
    first_at: float = 0.0


def outcome_of(known: Known | None, value: Value, now: float, limits: Limits) -> Outcome:
    """`known` None: there is no such prediction."""
    if known is None:
        return Outcome.UNMATCHED
    is_ripe = known.logged_at + limits.horizon <= now
    if known.value is None:
        return Outcome.LATE if is_ripe else Outcome.ACCEPTED
    if known.value == value:
        return Outcome.DUPLICATE
    if is_ripe or now - known.first_at > limits.correct_within:
        return Outcome.CONFLICTING
    return Outcome.CORRECTED
