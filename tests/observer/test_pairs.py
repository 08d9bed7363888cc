"""What one sampled pair adds to the counts of the copy's backend."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.observer import answers, pairs
from crossfade.quality.answer import Answer, RawAnswer
from crossfade.quality.compared import Compared
from crossfade.quality.comparing import with_texts
from crossfade.quality.prediction import Prediction, SegmentSource
from crossfade.quality.reading import read_answer
from crossfade.quality.samples import AnswerSample, Asked, CopySample, PairSample
from crossfade.stats.counts import ERROR, Cell, Events
from crossfade.stats.pairs import Pairs
from tests.observer.test_answers import observed

DECISION = Prediction(("p",), decision=0.5)
ASKED = Asked(b"abc", 1.5, b"/predict", None, b"x-tenant: a\r\n")
SHADOW = ("churn", "v3", "shadow", 1, 17)


def raw(body: bytes = b"", status: int = 200, seconds: float = 0.1) -> RawAnswer:
    return RawAnswer(status, b"", body, seconds)


def pair(live: bytes, copy: RawAnswer, second: RawAnswer | None = None, chance: float = 0.5) -> PairSample:
    return PairSample(ASKED, raw(live), CopySample(SHADOW, "v2", chance, copy, second))


def cells(*samples: PairSample, prediction: Prediction = DECISION) -> dict[int, Cell]:
    return {cell.second: cell for cell in observed(*samples, prediction=prediction).counts.cells}


def test_a_changed_decision_is_counted_in_the_cell_of_no_second() -> None:
    found = cells(pair(b'{"p": 0.6}', raw(b'{"p": 0.4}'), raw(b'{"p": 0.6}')))
    assert list(found) == [0]
    pairs = found[0].pairs
    assert (pairs.n, pairs.changed, pairs.lowered, pairs.twice, pairs.noise) == (1, 1, 1, 1, 0)
    assert pairs.distances.twice == 1 and pairs.latency.both


def test_a_rejection_of_the_copy_is_a_changed_decision() -> None:
    (cell,) = cells(pair(b'{"p": 0.6}', raw(status=404))).values()
    assert (cell.pairs.changed, cell.pairs.missing) == (1, 1)


def test_an_error_inside_the_challenger_s_answer_counts_as_its_error() -> None:
    found = cells(pair(b'{"p": 0.6}', raw(b'{"p": null}')))
    assert (found[17].errors, found[17].faults, found[0].pairs.missing) == (1, {"not_a_number": 1}, 1)


def test_an_error_inside_a_copy_s_answer_is_kept_with_the_key() -> None:
    """Else each error of one customer would be an event of its own in the tests."""
    sample = pair(b'{"p": 0.6}', raw(b'{"p": null}'))
    found = cells(*[replace(sample, asked=replace(sample.asked, key=7))] * 2)
    assert (found[17].errors, found[17].events) == (2, {ERROR: Events(keyed=2, keys=[7, 7])})


def test_an_answer_of_the_champion_that_cannot_be_unpacked_is_lost() -> None:
    coded = RawAnswer(200, b"content-encoding: x-unknown\r\n", b"??")
    found = observed(replace(pair(b"", raw(b'{"p": 0.4}')), live=coded), prediction=DECISION)
    assert found.counts.dropped == {"pair_encoding": 1}
    assert found.counts.cells[0].pairs == Pairs(champion_lost=1)


def test_a_second_answer_that_never_came_is_noise_and_has_no_latency() -> None:
    (cell,) = cells(pair(b'{"p": 0.6}', raw(b'{"p": 0.6}'), RawAnswer(0))).values()
    assert (cell.pairs.noise, cell.pairs.latency.both) == (1, [])


def test_pairs_are_counted_by_segment_of_answer_and_request() -> None:
    sources = (SegmentSource("answer", "country"), SegmentSource("header", "X-Tenant"))
    prediction = replace(DECISION, segment=sources)
    (cell,) = cells(pair(b'{"p": 0.6, "country": "DE"}', raw(b'{"p": 0.4}')), prediction=prediction).values()
    assert {source: list(values) for source, values in cell.pairs.segments.items()} == {
        "country": ["DE"],
        "header X-Tenant": ["a"],
    }


def test_numbers_are_compared_in_the_champion_s_spread_of_earlier_answers() -> None:
    prediction = Prediction(("p",))
    earlier = [pair(b'{"p": %d}' % n, raw(b'{"p": %d}' % n)) for n in range(100, 200)]
    (cell,) = cells(*earlier, pair(b'{"p": 150}', raw(b'{"p": 153}')), prediction=prediction).values()
    assert cell.pairs.distances.mean * 101 == pytest.approx(3 / 29, abs=0.02)


def test_a_pair_is_in_the_table_of_its_route_champion_and_challenger() -> None:
    found = observed(pair(b'{"p": 0.6}', raw(b'{"p": 0.4}')), pair(b"{}", raw(b"{}")), prediction=DECISION)
    (table,) = found.pairs
    assert (table.route, table.champion, table.challenger) == ("churn", "v2", "v3")
    assert (table.table.sums.n, table.table.sums.changed, table.table.sums.decided) == (1, 1, 1)
    assert table.table.dropped == {"pair_decision": 1}


def test_one_sample_of_an_answer_and_its_copies_counts_as_several_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the answer to the client is read once."""
    live = RawAnswer(200, b"", b'{"p": 0.6}', 0.1)
    other = pair(b'{"p": 0.6}', raw(b'{"p": 0.4}'), raw(b'{"p": 0.6}'))
    alone = AnswerSample(("churn", "v2", "champion", 1, 17), other.asked, "v2", True, live)
    apart = observed(alone, other, other, prediction=DECISION)
    calls = []

    def counted(raw: RawAnswer, *rest: Any) -> Answer:
        calls.append(raw.body)
        return read_answer(raw, *rest)

    for module in (answers, pairs):
        monkeypatch.setattr(module, "read_answer", counted)
    together = observed(replace(alone, copies=[other.copied] * 2), prediction=DECISION)
    assert (together.counts, together.pairs) == (apart.counts, apart.pairs)
    assert together.observations == apart.observations
    assert calls.count(b'{"p": 0.6}') == 3, "the answer, and the second answer of each pair"


def test_copies_of_an_answer_that_no_route_reads_any_more_are_dropped_with_it() -> None:
    found = observed(
        AnswerSample(
            ("gone", "v2", "champion", 1, 17),
            ASKED,
            "v2",
            True,
            raw(),
            [CopySample(SHADOW, "v2", 0.0, raw())],
        )
    )
    assert found.counts.dropped == {"answers": 1}


def test_answers_become_texts_only_where_their_pair_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def counted(*args: Any) -> Compared:
        written.append(args)
        return with_texts(*args)

    monkeypatch.setattr(pairs, "with_texts", counted)
    alike = [pair(b'{"p": 0.6}', raw(b'{"p": 0.6}'))] * 50
    other = pair(b'{"p": 0.6}', raw(b'{"p": 0.4}'))
    (found,) = observed(*alike, other, prediction=DECISION).pairs
    assert (found.table.sums.n, len(written)) == (51, 1)
    (worst,) = found.table.worst
    assert (worst.champion, worst.challenger) == ('{"p": 0.6}', '{"p": 0.4}')
