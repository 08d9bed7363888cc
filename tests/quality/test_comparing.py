"""One pair, compared; what its tests count, and what people see of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.quality.answer import Answer, Output
from crossfade.quality.compared import Compared
from crossfade.quality.comparing import Facts, NoPair, compare, drawn, lost_pair, pair_of, with_texts
from crossfade.quality.prediction import Prediction, SegmentSource
from crossfade.stats.bounded import LEVELS
from crossfade.stats.pairs import Measured, Pair, Pairs

FACTS = Facts("r-1", at=5.0)
SCORE = Prediction(score=("p",), decision=0.5)
LABEL = Prediction(label=("risk",))
TEXT = Prediction(protocol="openai")
UNREAD, SIZE, STATUS = Answer(unread="not_json"), Answer(unread="size"), Answer(unread="status")


def score(*values: float) -> Answer:
    return Answer(
        tuple((Output("score", value, "p"),) for value in values), document={"p": values[0], "id": 7}
    )


def label(value: str) -> Answer:
    return Answer(((Output("label", value, "risk"),),))


def text(value: str) -> Answer:
    return Answer(((Output("text", value),),))


def compared(*args, prediction: Prediction = SCORE, facts: Facts = FACTS) -> Compared:
    found = compare(prediction, facts, *args)
    assert isinstance(found, Compared)
    return with_texts(found, prediction, *args[:2])


def measured_of(found: Compared) -> Measured:
    measured = pair_of(found, 0.0).measured
    assert measured is not None
    return measured


def test_a_pair_of_scores() -> None:
    found = compared(score(0.25), score(0.75), score(0.3125))
    assert (found.changed, found.raised, found.missing, found.distance) == (True, True, False, 0.5)
    assert (found.noise_changed, found.noise_distance) == (False, 0.0625)
    assert (found.champion_score, found.challenger_score) == (0.25, 0.75)
    assert (found.champion_decision, found.challenger_decision) == ("false", "true")
    assert (found.fields, found.noise_fields) == (("p",), ("p",))
    assert (found.rows, found.rows_changed, found.at, found.request_id) == (1, 1, 5.0, "r-1")


def test_a_pair_of_labels() -> None:
    found = compared(label("high"), label("low"), prediction=LABEL)
    assert (found.changed, found.raised, found.distance, found.noise_changed) == (True, None, 1.0, None)
    assert not compared(label("high"), label("high"), prediction=LABEL).changed
    yes = Answer(((Output("label", True, "risk"),),))
    one = Answer(((Output("label", 1, "risk"),),))
    assert compared(yes, one, prediction=LABEL).changed  # Python takes them for equal


@pytest.mark.parametrize("copy", [None, UNREAD, STATUS, Answer(error="not_a_number"), Answer(((),))])
def test_a_challenger_that_says_nothing_has_changed_the_decision(copy: Answer | None) -> None:
    found = compared(score(0.75), copy)
    assert (found.changed, found.missing, found.raised, found.distance) == (True, True, None, 1.0)
    assert found.copy_failed == bool(copy and copy.error)
    assert compared(text("a"), copy, prediction=TEXT).missing


@pytest.mark.parametrize("second", [UNREAD, STATUS, SIZE])
def test_a_second_answer_that_says_nothing_is_noise(second: Answer) -> None:
    found = compared(score(0.75), score(0.75), second)
    assert (found.noise_changed, found.noise_distance) == (True, 1.0)


@pytest.mark.parametrize(
    ("live", "copy", "expected"),
    [
        (STATUS, score(0.5), NoPair("pair_status")),
        (replace(score(0.5), error="sse_error"), score(0.5), NoPair("pair_status")),
        (SIZE, score(0.5), NoPair("pair_body_size", False)),
        (score(0.5), SIZE, NoPair("pair_body_size", True)),
        (score(0.5), Answer(unread="encoding"), NoPair("pair_encoding", True)),
        (SIZE, SIZE, NoPair("pair_body_size")),
        (UNREAD, score(0.5), NoPair("pair_decision", False)),
        (UNREAD, UNREAD, NoPair("pair_decision")),
        (Answer(), None, NoPair("pair_decision")),
        (text("a"), label("high"), NoPair("pair_decision", False)),
    ],
)
def test_where_nothing_is_compared_it_says_why(live: Answer, copy: Answer | None, expected: NoPair) -> None:
    found = compare(SCORE if live.rows != text("a").rows else LABEL, FACTS, live, copy)
    assert found == expected
    counts = Pairs()
    pair = lost_pair(expected, None)
    if pair is not None:
        counts.add(*pair[1:])
    assert (counts.n, counts.lost, counts.champion_lost) == (
        0,
        int(expected.lost is True),
        int(expected.lost is False),
    )


def test_texts_have_a_distance_and_no_decision() -> None:
    found = compared(text("a b c"), text("a b d"), text("a b c"), prediction=TEXT)
    assert (found.decided, found.changed, found.distance, found.noise_distance) == (False, False, 0.5, 0.0)
    assert found.noise_changed is None
    counts = Pairs()
    counts.add(*pair_of(found, 1.0)[1:])
    assert (counts.n, counts.twice, counts.distances.n, counts.distances.twice) == (0, 0, 1, 1)


def test_one_row_of_a_batch_stands_for_the_request() -> None:
    found = [compared(score(0.1, 0.2, 0.9), score(0.1, 0.8, 0.9), facts=Facts(f"r-{n}")) for n in range(300)]
    assert 60 < sum(each.changed for each in found) < 140
    assert {each.champion_score for each in found} == {0.1, 0.2, 0.9}
    assert {(each.rows, each.rows_changed, each.distance) for each in found} == {(3, 1, 0.2)}
    again = compared(score(0.1, 0.2, 0.9), score(0.1, 0.8, 0.9), facts=Facts("r-7"))
    assert again.champion_score == (0.1, 0.2, 0.9)[drawn(b"r-7", 3)]


def test_a_missing_row_is_a_missing_decision_of_that_row() -> None:
    found = [compared(score(0.1, 0.9), score(0.1), facts=Facts(f"r-{n}")) for n in range(20)]
    assert {each.missing for each in found} == {each.changed for each in found} == {True, False}
    assert {each.distance for each in found} == {0.5}


def test_numbers_go_by_the_spread_of_earlier_ones() -> None:
    live, copy = (Answer(((Output("number", value, "km"),),)) for value in (100, 110))
    assert compared(live, copy, facts=replace(FACTS, spread={"km": 40.0})).distance == 0.25


def test_ignored_fields_are_not_compared() -> None:
    ignoring = replace(SCORE, ignore=(("p",),))
    found = compared(score(0.25), score(0.75), prediction=ignoring)
    assert (found.fields, found.distance, found.changed) == ((), 0.0, True)


def test_texts_are_hidden_and_numbers_kept() -> None:
    live = replace(score(0.25), document={"name": "Ada", "p": 0.25, "ok": True, "in": [None, "Ada", "Bob"]})
    found = compared(live, live)
    assert "Ada" not in found.champion
    assert '"p": 0.25, "ok": true, "in": [null, <3 characters, ' in found.champion
    name, other = (part.partition("characters, ")[2][:8] for part in found.champion.split("<")[1:3])
    assert name == other != found.champion.split("<")[3].partition("characters, ")[2][:8]
    assert found.challenger == found.champion
    assert compared(live, live, facts=Facts("r-2")).champion != found.champion


def test_only_declared_paths_are_hidden() -> None:
    document = {"who": {"name": "Ada", "age": 36, "vip": True}, "rows": [{"id": 1, "risk": "high"}]}
    live = replace(score(0.25), document=document)
    hiding = replace(SCORE, redact=(("who",), ("rows", "*", "id")))
    shown = compared(live, live, prediction=hiding).champion
    assert shown.startswith('{"who": {"name": <3 characters, ')
    assert shown.endswith(
        '"age": <number>, "vip": <true or false>}, "rows": [{"id": <number>, "risk": "high"}]}'
    )


def test_what_people_see_is_short() -> None:
    long = replace(score(0.25), document={"p": 0.25, "values": list(range(100_000)), "text": "x" * 100_000})
    found = compared(long, replace(long, document="é" * 10**6), prediction=replace(SCORE, redact=(("a",),)))
    assert len(found.champion) == 2000
    assert len(found.challenger) < 300
    deep: object = 1
    for _ in range(60):
        deep = [deep]
    assert compared(replace(long, document=deep), UNREAD).champion == "[" * 32 + "…" + "]" * 32
    assert compared(long, UNREAD).challenger == "not_json"
    assert compared(text("secret"), None, prediction=TEXT).champion.startswith("[[<6 characters")


def test_a_pair_for_the_tests() -> None:
    sources = (SegmentSource("json", "country"), SegmentSource("header", "X-Tenant"))
    facts = replace(FACTS, key=9, segments=("de", ""), copy_seconds=0.2, second_seconds=0.1)
    found = compared(score(0.25), score(0.75), score(0.25), facts=facts)
    pair = pair_of(found, 0.5, [source.name for source in sources])
    assert pair[:7] == Pair(9, True, True, 0.5, False)[:7]
    assert pair.measured is not None
    assert (pair.measured.distance, pair.measured.noise_distance) == (LEVELS // 2, 0)
    assert pair.measured.segments == (("country", "de"), ("X-Tenant", ""))
    assert pair.measured.durations is not None
    when, copy, second = pair.measured.durations
    assert (when, copy - second) == (5, 35)  # 1.02^35 = 2
    assert measured_of(compared(score(0.5), score(0.5))).durations is None


@given(st.integers(0, 200).map(lambda n: n / 1000))
def test_the_mean_level_of_a_distance_is_the_distance(distance: float) -> None:
    found = compared(score(0.25), score(0.25))
    pairs = [replace(found, distance=distance, request_id=f"r-{n}") for n in range(400)]
    levels = [measured_of(each).distance or 0 for each in pairs]
    assert set(levels) <= {int(distance * LEVELS), int(distance * LEVELS) + 1}
    assert sum(levels) / len(levels) / LEVELS == pytest.approx(distance, abs=0.0025)
