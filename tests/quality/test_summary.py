"""What a report says of pairs: numbers that agree with a count by hand, and intervals that hold."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec
import pytest

from crossfade.quality.compared import Compared
from crossfade.quality.comparison_summary import ComparisonSummary, Subject
from crossfade.quality.score_summary import band
from crossfade.quality.summary import MOST_LABELS, MOST_MOMENTS, MOST_VALUES, OTHER, summary
from crossfade.quality.table import ComparisonTable
from tests.quality.worlds import BEGUN, World, table_of

SUBJECT = Subject("churn", "v2", "v4", BEGUN, BEGUN + 5000, ("plan", "header:X-Country"), 0.5)


def told(world: World, n: int, seed: int = 1) -> ComparisonSummary:
    return summary(table_of(world, n, seed), SUBJECT)


def by_value(found: ComparisonSummary) -> dict[str, bool]:
    return {segment.value: segment.flagged for segment in found.segments if segment.by == "plan"}


def pair(champion: str, challenger: str, **more: Any) -> Compared:
    known: dict[str, Any] = {
        "request_id": f"{champion}{challenger}",
        "at": BEGUN,
        "key": None,
        "raised": None,
        "distance": 0.0,
    }
    changed = champion != challenger
    return Compared(
        **(known | more), changed=changed, champion_decision=champion, challenger_decision=challenger
    )


def summary_of(pairs: list[Compared], chance: float = 0.0) -> ComparisonSummary:
    table = ComparisonTable()
    for each in pairs:
        table.add(each, chance)
    return summary(table, SUBJECT)


def test_limits_are_those_of_what_is_measured():
    subject = Subject("churn", "v2", "v4", 0, 1, changed_limit=0.05, distance_limit=0.1, segment_limit=None)
    decided = summary(table_of(World(), 9), subject)
    undecided = summary(table_of(World(decides=False), 9), subject)
    assert (decided.measure, decided.limit, decided.segment_limit) == ("decision", 0.05, 0.05)
    assert (undecided.measure, undecided.limit, undecided.segment_limit) == ("distance", 0.1, 0.1)


def test_segments_below_their_limit_are_not_flagged():
    table = table_of(World(shift=0.15), 3000)
    found = summary(table, msgspec.structs.replace(SUBJECT, segment_limit=0.5))
    assert not any(segment.flagged for segment in found.segments)


def test_an_empty_table_says_that_nothing_is_known():
    found = summary(ComparisonTable(), SUBJECT)
    assert (found.pairs, found.decisions.changed, found.decisions.excess, found.distance.mean) == (
        0,
        None,
        None,
        None,
    )
    assert (found.scores.ks, found.scores.qq, found.segments, found.over_time, found.worst) == (
        None,
        [],
        [],
        [],
        [],
    )
    assert found.latency.challenger.n == 0


def test_the_json_has_the_fields_that_tools_rely_on():
    found = json.loads(msgspec.json.encode(told(World(shift=0.1), 300)))
    assert {"route", "champion", "challenger", "since", "pairs", "noise_pairs", "dropped"} <= set(found)
    assert {"changed", "noise", "excess", "confusion"} <= set(found["decisions"])
    assert set(found["decisions"]["excess"]) == {"estimate", "interval"}
    assert set(found["distance"]) == {"mean", "noise", "excess"}
    assert {"champion", "challenger", "ks", "psi"} <= set(found["scores"])
    assert {"n", "histogram", "quantiles"} == set(found["scores"]["champion"])
    assert {"champion_again", "challenger"} <= set(found["latency"])
    wanted = {"by", "value", "pairs", "changed", "excess", "interval", "flagged"}
    assert all(wanted <= set(segment) for segment in found["segments"])
    assert all(
        {"request_id", "at", "distance", "champion", "challenger"} <= set(each) for each in found["worst"]
    )


def test_a_shift_in_one_segment_is_found_there_and_nowhere_else():
    found = told(World(shift=0.15), 3000)
    assert by_value(found) == {"basic": False, "pro": True, "trial": False}
    excess = found.decisions.excess
    assert excess is not None
    assert excess.interval[0] > 0.03
    assert found.decisions.raised > 100
    assert found.decisions.lowered == 0


def test_a_jittery_model_is_not_far_from_itself_and_with_a_shift_it_is():
    still, moved = told(World(jitter=0.05), 3000), told(World(jitter=0.05, shift=0.3), 4000)
    assert not any(segment.flagged for segment in still.segments)
    for excess in (still.decisions.excess, still.distance.excess):
        assert excess is not None
        assert excess.interval[0] < 0 < excess.interval[1]
    assert by_value(moved)["pro"]
    assert moved.distance.excess is not None
    assert moved.distance.excess.interval[0] > 0


def test_answers_without_a_decision_are_compared_by_their_distance():
    found = told(World(shift=0.2, jitter=0.02, decides=False), 3000)
    assert found.measure == "distance"
    assert found.decisions.changed is None
    assert by_value(found) == {"basic": False, "pro": True, "trial": False}
    assert found.over_time[-1].interval is not None
    assert found.over_time[-1].interval[0] > 0


@pytest.mark.parametrize("decides", [True, False])
def test_intervals_of_the_excess_hold_at_all_looks_in_most_worlds(decides):
    wrong = 0
    for seed in range(20):
        draw, table, missed = Random(seed), ComparisonTable(), False
        world = World(jitter=0.08, decides=decides)
        for i in range(800):
            table.add(world.pair(draw, i), 0.1)
            if i > 5 and i % 40 == 0:
                sums = table.sums
                found = sums.changed_excess(0.05) if decides else sums.distance_excess(0.05)
                assert found is not None
                missed |= not found.interval[0] <= 0 <= found.interval[1]
        wrong += missed
    assert wrong <= 3  # 20 · 5 % = 1 is expected at most; 4 or more come once in 60 times at exactly 5 %


def test_kappa_and_agreement_are_those_of_the_confusion_table():
    pairs = (
        20 * [pair("yes", "yes")]
        + 5 * [pair("yes", "no")]
        + 10 * [pair("no", "yes")]
        + 15 * [pair("no", "no")]
    )
    decisions = summary_of(pairs).decisions
    assert decisions.confusion.labels == ["no", "yes"]
    assert decisions.confusion.counts == [[15, 10], [5, 20]]
    assert decisions.chance_agreement == pytest.approx(0.5)
    assert decisions.agreement is not None
    assert decisions.kappa is not None
    assert decisions.agreement.estimate == pytest.approx(0.7)
    assert decisions.kappa.estimate == pytest.approx(0.4)  # the example of Cohen's kappa in text books
    low, high = decisions.agreement.interval
    assert low < 0.7 < high


def test_rare_labels_are_counted_together():
    pairs = [pair(f"l{i}", f"l{i}") for i in range(30) for _ in range(30 - i)]
    confusion = summary_of(pairs).decisions.confusion
    assert len(confusion.labels) == MOST_LABELS + 1
    assert confusion.labels[-1] == OTHER
    assert sum(map(sum, confusion.counts)) == len(pairs)
    assert confusion.counts[-1][-1] == sum(30 - i for i in range(20, 30))


def test_a_challenger_that_says_nothing_is_a_column_of_its_own():
    found = summary_of([pair("yes", "", missing=True), pair("yes", "yes")])
    assert found.decisions.confusion.labels == ["yes", ""]
    assert found.decisions.confusion.counts == [[1, 1], [0, 0]]
    assert found.decisions.missing == 1


def test_rare_values_of_a_segment_are_summed():
    pairs = [pair("a", "a", segments=(f"{i:03}",)) for i in range(150) for _ in range(1 + (i < 100))]
    segments = summary_of(pairs).segments
    assert len(segments) == MOST_VALUES + 1
    assert next(segment for segment in segments if segment.value == OTHER).pairs == 50


def test_histograms_share_their_bins_and_hold_every_score():
    scores = told(World(shift=0.3), 1000).scores
    ours, theirs = scores.champion.histogram, scores.challenger.histogram
    assert [bin_[:2] for bin_ in ours] == [bin_[:2] for bin_ in theirs]
    assert sum(n for _, _, n in ours) == pytest.approx(1000)
    assert sum(n for _, _, n in theirs) == pytest.approx(1000)
    assert ours[0][0] >= 0
    assert ours[-1][1] == pytest.approx(1.0)


@pytest.mark.parametrize("values", [[5e8 * i for i in range(1, 99)], [-3.0, 0.0, 2e300], [0.25], [7.0] * 9])
def test_numbers_of_any_size_have_a_histogram(values):
    scores = summary_of([pair("a", "a", champion_score=v, challenger_score=-v) for v in values]).scores
    for one in (scores.champion, scores.challenger):
        assert sum(n for _, _, n in one.histogram) == pytest.approx(len(values), abs=0.1)
        assert all(low < high for low, high, _ in one.histogram)
        assert one.quantiles["p1"] <= one.quantiles["p99"]


def test_equal_scores_have_no_distance_and_a_correlation_of_one():
    scores = told(World(), 1000).scores
    assert scores.ks is not None
    assert scores.ks.estimate == 0
    assert scores.ks.interval[0] == 0
    assert scores.psi == pytest.approx(0)
    assert scores.correlation is not None
    assert scores.correlation.estimate == pytest.approx(1)
    assert all(ours == theirs for _, ours, theirs in scores.qq)


def test_the_band_of_a_distribution_narrows_and_holds():
    assert band(100, 0.05) > band(1000, 0.05) > band(10_000, 0.05)
    draw = Random(4)
    for _ in range(20):
        values = [draw.random() for _ in range(1000)]
        for n in (50, 200, 1000):
            some = sorted(values[:n])
            away = max(max(abs((i + 1) / n - x), abs(i / n - x)) for i, x in enumerate(some))
            assert away <= band(n, 0.05)


def test_keys_are_estimated_where_there_are_many():
    draw = Random(2)
    keys = [draw.getrandbits(64) for _ in range(2000)]
    few = summary_of([pair("a", "a", key=key) for key in keys[:100] * 3]).keys
    many = summary_of([pair("a", "a", key=key) for key in keys]).keys
    assert (few.pairs, few.distinct) == (300, 100)
    assert many.distinct == pytest.approx(2000, rel=0.25)


def test_moments_add_up_and_end_with_the_excess_of_all():
    found = told(World(shift=0.2), 1500)
    assert len(found.over_time) <= MOST_MOMENTS
    assert sum(moment.pairs for moment in found.over_time) == 1500
    assert found.decisions.excess is not None
    assert found.over_time[-1].interval == found.decisions.excess.interval


def test_fields_that_differ_from_themselves_come_last():
    found = told(World(jitter=0.05), 500)
    assert [field.path for field in found.fields] == ["model.version", "churn_probability"]
    assert found.fields[1].noise == 1.0
