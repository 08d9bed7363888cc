"""What the observer says for the prediction log of each answer and copy that it reads."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.observer import answers
from crossfade.observer.messages import Observed
from crossfade.observer.observing import Observer
from crossfade.quality.answer import RawAnswer
from crossfade.quality.logged import LoggedOutput, outputs_in
from crossfade.quality.prediction import Prediction, SegmentSource
from crossfade.quality.samples import AnswerSample, Asked, CopySample, PairSample, Sample, encode
from tests.observer.test_answers import BODY, CELL, sampled

PREDICTION = Prediction(
    ("p",), ("class",), segment=(SegmentSource("json", "plan"), SegmentSource("answer", "country"))
)
ASKED = Asked(b"abc", 1.5, b"/predict", 7, b"", b'{"plan": "gold"}')
SHADOW = ("churn", "v3", "shadow", 1, 17)
COPY = RawAnswer(200, b"", b'{"p": 0.75, "class": "high"}')


def outputs(*samples: Sample, inputs: bool = False) -> list[LoggedOutput]:
    observer = Observer()
    observer.use({"churn": PREDICTION, "other": PREDICTION}, {}, {"churn": inputs})
    found = observer.observe(encode(list(samples)), len(samples))
    assert {batch.route for batch in found.outputs} <= {"churn"}
    return [output for batch in found.outputs for output in outputs_in(batch)]


def asked(**given: Any) -> AnswerSample:
    return replace(sampled(**given), asked=ASKED)


@pytest.mark.parametrize("inputs", [False, True])
def test_an_answer_gives_its_output_and_where_it_is_wanted_the_input(inputs: bool) -> None:
    body = ASKED.body if inputs else None
    expected = LoggedOutput(b"abc", "v2", 0.25, "low", ("gold", "DE"), body=body)
    assert outputs(asked(), inputs=inputs) == [expected]


def test_the_output_is_of_the_backend_that_answered() -> None:
    assert [each.backend for each in outputs(asked(by="fallback", own=False))] == ["fallback"]


def test_all_answers_have_outputs_and_not_only_those_that_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "OBSERVED", 1)
    assert len(outputs(*[asked()] * 5)) == 5


def test_an_answer_that_says_nothing_still_has_its_segment() -> None:
    assert outputs(asked(body=b"{")) == [LoggedOutput(b"abc", "v2", None, None, ("gold", ""))]


def test_what_a_worker_did_not_keep_has_no_output() -> None:
    assert outputs(asked(body=None), AnswerSample(CELL, ASKED, "", False, None)) == []


def test_other_routes_have_no_outputs() -> None:
    assert outputs(asked(route="other")) == []


def test_a_copy_has_its_own_output_beside_the_answer() -> None:
    copied = CopySample(SHADOW, "v2", 0.0, COPY)
    with_it = replace(asked(), copies=[copied])
    copy = LoggedOutput(b"abc", "v3", 0.75, "high", copy=True)
    assert outputs(with_it, inputs=True)[1:] == [copy]
    alone = PairSample(ASKED, RawAnswer(200, b"", BODY), copied)  # its exchange may be no sample
    assert outputs(alone, inputs=True) == [
        LoggedOutput(b"abc", "v2", 0.25, "low", ("gold", "DE"), body=ASKED.body),
        copy,
    ]


@pytest.mark.parametrize(
    "answer", [RawAnswer(0), RawAnswer(500, b"", b'{"p": 1}'), RawAnswer(200, b"", b"{}")]
)
def test_a_copy_that_says_nothing_has_none(answer: RawAnswer) -> None:
    found = outputs(replace(asked(), copies=[CopySample(SHADOW, "v2", 0.0, answer)]))
    assert [each.copy for each in found] == [False]


def test_outputs_of_several_reports_are_added() -> None:
    found = Observed()
    observer = Observer()
    observer.use({"churn": PREDICTION}, {}, {"churn": False})
    for _ in range(2):
        found.add(observer.observe(encode([asked()]), 1))
    assert [batch.n for batch in found.outputs] == [1, 1]
