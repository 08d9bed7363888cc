"""What crosses between workers, the control process and the observer arrives as it was."""

from __future__ import annotations

import io

import pytest

from crossfade.frames import framed
from crossfade.observer.messages import FROM_OBSERVER, TO_OBSERVER, Batch, Observed, Use, read_frame
from crossfade.quality.answer import RawAnswer
from crossfade.quality.prediction import Prediction, SegmentSource
from crossfade.quality.samples import AnswerSample, Asked, CopySample, PairSample, decode, encode
from crossfade.stats.counts import Cell, Counts
from crossfade.stats.observation import Observation

ASKED = Asked(b"abc", 1.5, b"/predict?x=1", 2**64 - 1, b"a: b\r\n", b"{}")
RAW = RawAnswer(200, b"content-type: a\r\n", b"\x00\xff", 0.25, True, ((1, 0.5), (2, 0.75)), True)
COPIED = CopySample(("churn", "v3", "shadow", 3, 17), "v2", 0.05, RawAnswer(0), None)
ANSWER = AnswerSample(("churn", "v2", "champion", 3, 17), ASKED, "v2", True, RAW)
COMPARED = AnswerSample(("churn", "v2", "champion", 3, 17), ASKED, "v2", True, RAW, [COPIED, COPIED])
PAIR = PairSample(ASKED, RAW, COPIED)


def test_samples_arrive_as_they_were() -> None:
    assert decode(encode([ANSWER, COMPARED, PAIR])) == [ANSWER, COMPARED, PAIR]


def test_messages_to_the_observer_arrive_one_after_the_other() -> None:
    use = Use({"churn": Prediction(("p",), decision=0.5, segment=(SegmentSource("header", "x-a"),))})
    batch = Batch(encode([ANSWER]), 1)
    file = io.BytesIO(framed(use) + framed(batch))
    frames = [read_frame(file), read_frame(file), read_frame(file)]
    assert [TO_OBSERVER.decode(frame) for frame in frames if frame is not None] == [use, batch]
    assert frames[2] is None


@pytest.mark.parametrize("kept", [1, 4, 6])
def test_a_frame_cut_short_is_the_end(kept: int) -> None:
    assert read_frame(io.BytesIO(framed(Batch(b"xyz", 1))[:kept])) is None


def test_what_was_observed_arrives_with_its_labels() -> None:
    labels: list[bool | int | float | str | None] = [None, True, -3, 0.5, "low", 2**63 - 1]
    seen = [
        Observation("abc", 1.5, "churn", "v2", "v1", 3, 2**64 - 1, 0.25, label, ("DE", ""))
        for label in labels
    ]
    observed = Observed(6, Counts([Cell("churn", "v2", "champion", 3, read=6)]), seen)
    arrived = FROM_OBSERVER.decode(framed(observed)[4:])
    assert arrived == observed
    assert [type(o.label) for o in arrived.observations] == [type(label) for label in labels]


def test_adding_what_was_observed_is_merging() -> None:
    def part(n: int) -> Observed:
        return Observed(n, Counts([Cell("churn", "v2", "champion", 3, read=n)], dropped={"a": n}))

    total = part(2)
    total.add(part(3))
    assert (total.n, total.counts.cells[0].read, total.counts.dropped) == (5, 5, {"a": 5})
