"""What one sampled answer adds to the counts, and the observation that it gives."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.observer import answers
from crossfade.observer.messages import Observed
from crossfade.observer.observing import Observer
from crossfade.quality.answer import Answer, RawAnswer
from crossfade.quality.prediction import Prediction, SegmentSource
from crossfade.quality.reading import read_answer
from crossfade.quality.samples import AnswerSample, Asked, Sample, encode
from crossfade.stats.counts import ERROR, UNREADABLE, Cell, Events
from crossfade.stats.observation import Observation
from crossfade.stats.scores import bucket_of_score

SEGMENTS = (SegmentSource("answer", "country"), SegmentSource("answer", "plan.name"))
PREDICTION = Prediction(("p",), ("class",), segment=SEGMENTS)
BODY = b'{"p": 0.25, "class": "low", "country": "DE", "plan": {"name": "pro"}}'
CELL = ("churn", "v2", "champion", 1, 0)


def sampled(
    body: bytes | None = BODY,
    key: int | None = 7,
    by: str = "v2",
    own: bool = True,
    route: str = "churn",
    **raw: Any,
) -> AnswerSample:
    asked = Asked(b"abc", 1.5, b"/predict", key)
    return AnswerSample((route, *CELL[1:]), asked, by, own, RawAnswer(200, b"", body, **raw))


def observed(*samples: Sample, prediction: Prediction = PREDICTION) -> Observed:
    observer = Observer()
    observer.use({"churn": prediction})
    return observer.observe(encode(list(samples)), len(samples))


def cell_of(found: Observed) -> Cell:
    (cell,) = found.counts.cells
    return cell


def test_an_answer_gives_a_score_and_an_observation() -> None:
    found = observed(sampled())
    assert found.observations == [
        Observation("abc", 1.5, "churn", "v2", "v2", 1, 7, 0.25, "low", ("DE", "pro"))
    ]
    cell = cell_of(found)
    assert (found.n, cell.read, cell.answers, cell.unreadable, cell.scoreless) == (1, 1, 1, 0, 0)
    assert cell.keyed_scores == [(7, bucket_of_score(0.25))]


def test_a_score_without_a_key_is_counted_at_once() -> None:
    cell = cell_of(observed(sampled(key=None), sampled(key=None)))
    assert (cell.scores.count, cell.keyed_scores) == (2, [])


def test_a_fallback_answer_is_observed_and_counts_for_nobody() -> None:
    found = observed(sampled(by="v1", own=False))
    assert [(o.backend, o.answered_by) for o in found.observations] == [("v2", "v1")]
    cell = cell_of(found)
    assert (cell.read, cell.answers, cell.keyed_scores) == (1, 0, [])


def test_an_exchange_without_an_answer_is_looked_at_all_the_same() -> None:
    found = observed(AnswerSample(CELL, Asked(b"abc", 1.5, b"/", None), "", False, None))
    assert (cell_of(found).read, cell_of(found).answers, found.counts.dropped) == (1, 0, {})


@pytest.mark.parametrize(
    ("sample", "counted", "dropped"),
    [
        (sampled(b"[]"), (1, 1, 1), {"unreadable": 1}),
        (sampled(None), (1, 0, 1), {"body_size": 1}),
        (sampled(broken=True), (0, 0, 0), {}),
    ],
    ids=["unreadable", "too large", "cut off"],
)
def test_an_answer_that_says_nothing_is_counted_with_the_reason(
    sample: AnswerSample, counted: tuple[int, int, int], dropped: dict[str, int]
) -> None:
    found = observed(sample)
    cell = cell_of(found)
    assert ((cell.answers, cell.unreadable, cell.scoreless), found.counts.dropped) == (counted, dropped)


def test_an_unreadable_answer_is_kept_with_its_key() -> None:
    cell = cell_of(observed(sampled(b"["), sampled(b"[", key=None)))
    assert (cell.unreadable, cell.events) == (2, {UNREADABLE: Events(keyed=1, keys=[7])})


def test_an_error_inside_an_answer_counts_as_an_error_of_the_backend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "read_answer", lambda *_: Answer(error="oip_error"))
    cell = cell_of(observed(sampled(), sampled(key=None)))
    assert (cell.errors, cell.faults, cell.requests) == (2, {"oip_error": 2}, 0)
    assert cell.events == {ERROR: Events(keyed=1, keys=[7])}
    assert cell.recent == [7, 1], "the fuse sees them, by their keys"


def test_observations_of_a_route_and_report_are_limited_and_drops_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "OBSERVED", 2)
    found = observed(*[sampled()] * 5)
    assert (len(found.observations), found.counts.dropped) == (2, {"observations": 3})
    assert len(cell_of(found).keyed_scores) == 5


def test_keys_of_events_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "KEYS_KEPT", 2)
    found = observed(*[sampled(b"[", key=n) for n in range(5)])
    assert cell_of(found).events == {UNREADABLE: Events(keyed=5, keys=[0, 1])}
    assert found.counts.dropped == {"unreadable": 5, "event_keys": 3}


def test_a_label_that_no_message_can_carry_gives_no_observation() -> None:
    found = observed(sampled(b'{"class": 99999999999999999999}'), prediction=Prediction(label=("class",)))
    assert (found.observations, found.counts.dropped) == ([], {})


def test_a_sample_of_a_route_that_is_gone_is_dropped() -> None:
    found = observed(sampled(route="old"))
    assert (found.counts.cells, found.counts.dropped) == ([], {"answers": 1})


def test_a_sample_that_breaks_our_code_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = read_answer

    def broken(raw: RawAnswer, target: bytes, prediction: Prediction) -> Answer:
        if raw.body == b"[]":
            raise ValueError("a fault of ours")
        return right(raw, target, prediction)

    monkeypatch.setattr(answers, "read_answer", broken)
    found = observed(sampled(b"[]"), sampled())
    assert (found.counts.dropped, len(found.observations)) == ({"samples": 1}, 1)
    assert "a fault of ours" in caplog.text


def test_samples_that_cannot_be_decoded_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    found = Observer().observe(b"\xc1", 5)
    assert (found.n, found.counts.dropped) == (5, {"samples": 5})
    assert "samples cannot be read" in caplog.text
