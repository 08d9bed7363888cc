"""Rows of feedback as they are sent, and what becomes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossfade.quality.feedback import (
    LONGEST_NAME,
    BadRow,
    Feedback,
    Known,
    Limits,
    Outcome,
    outcome_of,
    read_row,
)
from crossfade.quality.outputs import LONGEST_LABEL
from crossfade.routing.key import json_key

LIMITS = Limits(horizon=100.0, correct_within=10.0)


def sent(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "row, read",
    [
        (sent(request_id="r1", label=1), Feedback(b"r1", "label", 1)),
        (sent(request_id="r1", label=True), Feedback(b"r1", "label", True)),
        (sent(request_id="r1", value="yes"), Feedback(b"r1", "label", "yes")),
        (sent(request_id="r1", name="label", label=0.5), Feedback(b"r1", "label", 0.5)),
        (sent(request_id="é", name="revenue", value=-3, at=7), Feedback("é".encode(), "revenue", -3, at=7.0)),
        (sent(request_id="r", route="churn", value=0, key=None), Feedback(b"r", "label", 0, "churn")),
        (sent(route="churn", key="c-1", at=5.5, value=2), Feedback(b"", "label", 2, "churn", b"c-1", 5.5)),
        (sent(request_id="r", value=(1 << 63) - 1), Feedback(b"r", "label", (1 << 63) - 1)),
        (b' {"request_id": "r", "value": 1}\r', Feedback(b"r", "label", 1)),
    ],
)
def test_a_row_is_read(row: bytes, read: Feedback) -> None:
    found = read_row(row)
    assert found == read
    assert type(found.value) is type(read.value)


@pytest.mark.parametrize(
    "row, reason",
    [
        (b"", "not JSON"),
        (b'{"request_id": "r", "value": NaN}', "not JSON"),
        (b'{"request_id": "r", "value": 1} x', "not JSON"),
        (b'{"request_id": "\xff", "value": 1}', "not JSON"),
        (b'{"request_id": "\\ud800", "value": 1}', ""),
        (b'{"request_id": "r", "value": "\\ud800"}', ""),
        (b'{"x": ' + b"[" * 100_000, ""),
        (b"3", "Expected `object`"),
        (b"[]", "Expected `object`"),
        (sent(request_id="r", value=1, colour="red"), "colour"),
        (sent(request_id=7, value=1), "$.request_id"),
        (sent(request_id="r", value=[1]), "$.value"),
        (sent(request_id="r", value=1, at="today"), "$.at"),
        (sent(request_id="r"), "value is missing"),
        (sent(request_id="r", value=None), "value is missing"),
        (sent(request_id="r", value=1, label=1), "not both"),
        (sent(request_id="r", name="revenue", label=1), "label has the name label"),
        (sent(value=1), "request_id is missing"),
        (sent(request_id="", value=1), "request_id must have"),
        (sent(request_id="r", key="k", value=1), "not both"),
        (sent(key="k", route="churn", value=1), "route and at"),
        (sent(key="k", at=1, value=1), "route and at"),
        (sent(key="", route="churn", at=1, value=1), "key must have"),
        (sent(key=True, route="churn", at=1, value=1), "$.key"),
        (sent(request_id="r", name="", value=1), "name must have"),
        (sent(request_id="r", name="a\nb", value=1), "name must have"),
        (sent(request_id="r", name="n" * (LONGEST_NAME + 1), value=1), "name must have"),
        (sent(request_id="r", value=""), "text as value"),
        (sent(request_id="r", value="v" * (LONGEST_LABEL + 1)), "text as value"),
        (sent(request_id="r", value=1 << 63), "64 bits"),
        (sent(request_id="r", value=10**30), ""),
    ],
)
def test_a_wrong_row_is_refused_with_its_reason(row: bytes, reason: str) -> None:
    with pytest.raises(BadRow) as refused:
        read_row(row)
    assert reason in str(refused.value)


@given(st.binary(max_size=60))
def test_a_row_is_read_or_refused_and_nothing_else(row: bytes) -> None:
    try:
        read_row(row)
    except BadRow as refused:
        assert str(refused)


@given(
    st.one_of(
        st.text(min_size=1, max_size=20), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
    )
)
@example(42.0)
@example("42")
@example(-0.0)
def test_a_key_is_spelled_as_the_router_spells_it(key: Any) -> None:
    row = json.dumps({"key": key, "route": "churn", "at": 1, "value": 1}).encode()
    try:
        read = read_row(row).key
    except BadRow:
        assert (
            isinstance(key, str) or abs(key) > 1 << 63
        )  # no valid Unicode; a number that JSON readers do not take
        return
    assert read == json_key(json.loads(row), ("key",))


@pytest.mark.parametrize(
    "known, value, now, outcome",
    [
        (None, 1, 0.0, Outcome.UNMATCHED),
        (Known(0.0), 1, 0.0, Outcome.ACCEPTED),
        (Known(0.0), 1, 99.9, Outcome.ACCEPTED),
        (Known(0.0), 1, 100.0, Outcome.LATE),
        (Known(0.0, 1, 50.0), 1, 55.0, Outcome.DUPLICATE),
        (Known(0.0, 1, 50.0), 1, 500.0, Outcome.DUPLICATE),
        (Known(0.0, 1, 50.0), True, 55.0, Outcome.DUPLICATE),
        (Known(0.0, 1, 50.0), 0, 60.0, Outcome.CORRECTED),
        (Known(0.0, 1, 50.0), "1", 60.0, Outcome.CORRECTED),
        (Known(0.0, 1, 50.0), 0, 60.1, Outcome.CONFLICTING),
        (Known(0.0, 1, 95.0), 0, 99.9, Outcome.CORRECTED),
        (Known(0.0, 1, 95.0), 0, 100.0, Outcome.CONFLICTING),
    ],
)
def test_what_becomes_of_a_value(known: Known | None, value: Any, now: float, outcome: Outcome) -> None:
    assert outcome_of(known, value, now, LIMITS) is outcome


@given(
    st.floats(0, 200),
    st.sampled_from([0, 1, 0.5, "a"]),
    st.one_of(st.none(), st.sampled_from([0, 1, "a"])),
    st.floats(0, 200),
)
def test_the_same_row_once_more_changes_nothing(now: float, value: Any, before: Any, first_at: float) -> None:
    known = Known(0.0, before, min(first_at, now))
    if outcome_of(known, value, now, LIMITS) in (Outcome.ACCEPTED, Outcome.CORRECTED):
        known = Known(0.0, value, now if before is None else known.first_at)
        assert outcome_of(known, value, now, LIMITS) is Outcome.DUPLICATE
