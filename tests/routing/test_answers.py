"""What a route's answers say: scores, labels, decisions and segments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crossfade.quality.prediction import Prediction, SegmentSource
from crossfade.routing.answers import LONGEST_LABEL, AnswerReader, reader_of

SCORE, LABEL = Prediction(score=("out", "p")), Prediction(label=("out", "class"))


def reader(prediction: Prediction) -> AnswerReader:
    found = reader_of(prediction)
    assert found is not None
    return found


def test_a_route_that_asks_nothing_of_its_answers_has_no_reader() -> None:
    assert reader_of(None) is None


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'"out"', b'{"out": 1}'])
def test_an_answer_that_cannot_be_read_says_nothing(body: bytes) -> None:
    both = reader(
        Prediction(("out", "p"), ("out", "class"), segment=(SegmentSource("answer", "out.country"),))
    )
    content = both.read(body)
    assert (both.score(content), both.label(content), both.decision(content)) == (None, None, None)
    assert both.segment(content) == ("",)


@pytest.mark.parametrize(
    ("value", "score"),
    [
        ("0.25", 0.25),
        ("-3", -3),
        ("true", None),
        ('"0.25"', None),
        ("null", None),
        ("[1]", None),
        ("1e300", None),
        ("-1e300", None),
        ("1" + "0" * 400, None),
    ],
)
def test_a_score_is_a_number_of_moderate_size(value: str, score: float | None) -> None:
    scores = reader(SCORE)
    assert scores.scores
    assert scores.score(scores.read(b'{"out": {"p": %b}}' % value.encode())) == score


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("stays", "stays"),
        ("x" * LONGEST_LABEL, "x" * LONGEST_LABEL),
        ("x" * (LONGEST_LABEL + 1), None),
        (True, True),
        (7, 7),
        (0.5, 0.5),
        (None, None),
        (["stays"], None),
    ],
)
def test_a_label_is_one_value_and_the_decision_without_a_threshold(value: Any, label: object) -> None:
    labels = reader(LABEL)
    content = labels.read(json.dumps({"out": {"class": value}}).encode())
    assert not labels.scores and labels.score(content) is None
    assert labels.label(content) == labels.decision(content) == label


@pytest.mark.parametrize(("score", "decision"), [(0.5, True), (0.4999, False), ("0.5", None)])
def test_the_decision_is_yes_from_the_threshold_on(score: object, decision: bool | None) -> None:
    decides = reader(Prediction(("p",), ("class",), 0.5))
    assert decides.decision({"p": score, "class": "stays"}) is decision


def test_a_segment_is_the_text_of_its_fields() -> None:
    fields = ("country", "adult", "age", "rate", "tags", "long", "absent")
    segments = reader(Prediction(segment=tuple(SegmentSource("answer", field) for field in fields)))
    content = {
        "country": "çe", "adult": False, "age": 42, "rate": 0.5, "tags": ["x"], "long": "x" * (LONGEST_LABEL + 1)
    }  # fmt: skip
    assert segments.segment(content) == ("çe", "false", "42", "0.5", "", "", "")
    assert segments.segment({"adult": True}) == ("", "true", "", "", "", "", "")
