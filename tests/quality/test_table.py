"""The table of a comparison: parts merged in any order give what adding one by one gives, in bounded room."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.quality.compared import Compared
from crossfade.quality.kept_names import REST
from crossfade.quality.table import (
    MOST_FIELDS,
    MOST_KEYS,
    MOST_LABELS,
    MOST_POINTS,
    MOST_REASONS,
    MOST_SLICES,
    MOST_VALUES,
    MOST_WORST,
    ComparisonTable,
)

DAY = 86_400.0
CHANCE = 0.05
words = st.sampled_from(["", "a", "b", "c", "\0", "ü", "<b>"])
shares = st.floats(0, 1)
compared = st.builds(
    Compared,
    request_id=st.text(max_size=3),
    at=st.floats(0, 30 * DAY),
    key=st.none() | st.integers(0, 2**64 - 1),
    changed=st.booleans(),
    raised=st.none() | st.booleans(),
    distance=shares,
    missing=st.booleans(),
    noise_changed=st.none() | st.booleans(),
    noise_distance=st.none() | shares,
    champion_score=st.none() | st.floats(),
    challenger_score=st.none() | st.floats(),
    champion_decision=words,
    challenger_decision=words,
    rows=st.integers(1, 5),
    rows_changed=st.integers(0, 5),
    live_seconds=st.floats(0, 1e9),
    copy_seconds=st.none() | st.floats(0, 10),
    second_seconds=st.none() | st.floats(0, 10),
    segments=st.lists(words, max_size=3).map(tuple),
    fields=st.lists(words, max_size=3).map(tuple),
    noise_fields=st.lists(words, max_size=3).map(tuple),
    champion=words,
    challenger=words,
    copy_failed=st.booleans(),
    decided=st.booleans(),
)
parts = st.lists(compared, max_size=8)


def table_of(pairs: list[Compared]) -> ComparisonTable:
    out = ComparisonTable()
    for pair in pairs:
        out.add(pair, CHANCE)
    return out


def merged(*tables: ComparisonTable) -> ComparisonTable:
    out = ComparisonTable()
    for table in tables:
        out.merge(table)
    return out


@given(parts, parts, parts)
def test_parts_merged_in_any_order_are_the_whole(a, b, c):
    whole = table_of(a + b + c)
    assert table_of(c + b + a) == whole
    assert merged(table_of(a), table_of(b), table_of(c)) == whole
    assert merged(table_of(c), table_of(a), table_of(b)) == whole
    assert merged(table_of(a), merged(table_of(b), table_of(c))) == whole


def pair_of(draw: Random) -> Compared:
    """Of so many names, scores and times that each limit of the table is passed."""
    score, label = draw.lognormvariate(90, 80), str(int(draw.expovariate(0.02)))
    return Compared(
        request_id=str(draw.random()),
        at=draw.random() * 40 * DAY,
        key=draw.getrandbits(64),
        changed=draw.random() < 0.5,
        raised=None,
        distance=draw.random(),
        noise_changed=draw.choice([None, True, False]),
        noise_distance=draw.random(),
        champion_score=score,
        challenger_score=-score * draw.random(),
        champion_decision=label,
        challenger_decision=str(int(draw.expovariate(0.02))),
        copy_seconds=draw.random(),
        segments=(str(draw.randrange(500)), str(draw.randrange(900))),
        fields=tuple(str(draw.randrange(900)) for _ in range(3)),
        noise_fields=(str(draw.randrange(900)),),
        champion="x" * 9999,
        challenger="y",
    )


@pytest.mark.parametrize("seed", range(2))
def test_a_table_at_its_limits_is_the_same_in_any_order_and_keeps_to_them(seed):
    draw = Random(seed)
    pairs = [pair_of(draw) for _ in range(1500)]
    whole = table_of(pairs)
    draw.shuffle(pairs)
    cuts = sorted(draw.sample(range(len(pairs)), 3))
    some = [table_of(pairs[i:j]) for i, j in zip([0, *cuts], [*cuts, len(pairs)], strict=True)]
    assert merged(*some) == whole
    assert merged(*reversed(some)) == whole
    labels = set(whole.confusion).union(*whole.confusion.values())
    assert len(labels) == MOST_LABELS + 1
    assert REST in labels
    assert sum(n for row in whole.confusion.values() for n in row.values()) == len(pairs)
    assert [len(values) for values in whole.segments.values()] == [MOST_VALUES + 1, MOST_VALUES + 1]
    assert all(sum(sums.n for sums in values.values()) == len(pairs) for values in whole.segments.values())
    assert len(whole.fields) == MOST_FIELDS + 1
    assert [sum(counts[i] for counts in whole.fields.values()) for i in (0, 1)] == [
        3 * len(pairs),
        len(pairs),
    ]
    assert len(whole.points) == MOST_POINTS
    assert len(whole.worst) == MOST_WORST
    assert len(whole.keys) == MOST_KEYS
    assert MOST_SLICES / 2 < len(whole.slices) <= MOST_SLICES
    assert sum(sums.n for sums in whole.slices.values()) == len(pairs)
    assert whole.champion_scores.halvings > 0
    assert len(msgspec.msgpack.encode(whole)) < 250_000


def test_the_worst_pairs_are_those_at_the_largest_distance():
    draw = Random(5)
    pairs = [pair_of(draw) for _ in range(100)]
    worst = sorted(pairs, key=lambda pair: -pair.distance)[:MOST_WORST]
    assert [pair.request_id for pair in table_of(pairs).worst] == [pair.request_id for pair in worst]


def test_only_the_worst_pairs_are_shown():
    table = ComparisonTable()
    for pair in [pair_of(Random(n)) for n in range(200)]:
        before = list(table.worst)
        shows = table.shows(pair)
        table.add(pair, 0.1)
        assert shows == (table.worst != before)
    assert len(table.worst) == MOST_WORST


def test_answers_that_are_errors_are_counted_and_are_no_worst_pairs():
    table = table_of(
        [Compared("r", 0, None, True, None, 1.0, missing=True, copy_failed=True, copy_seconds=0.001)]
    )
    assert (table.copy_errors, table.worst, table.copies.count) == (1, [], 0)


def test_equal_answers_are_no_worst_pairs():
    assert table_of([Compared("r", 0, None, changed=False, raised=None, distance=0)]).worst == []


def test_reasons_of_dropped_pairs_add_up_in_bounded_room():
    a, b = ComparisonTable(), ComparisonTable()
    for i in range(200):
        a.drop(str(i), 2)
        b.drop(str(i % 7))
    whole = merged(a, b)
    assert sum(whole.dropped.values()) == 600
    assert len(whole.dropped) == MOST_REASONS + 1
    assert whole == merged(b, a)


@pytest.mark.parametrize("form", [msgspec.json, msgspec.msgpack])
def test_a_table_is_read_as_it_was_written(form):
    draw = Random(9)
    table = table_of([pair_of(draw) for _ in range(300)])
    assert form.decode(form.encode(table), type=ComparisonTable) == table


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_of_scores_lie_in_the_bucket_of_the_true_one(scores, q):
    table = table_of(
        [Compared(str(i), 0, None, False, None, 0, champion_score=s) for i, s in enumerate(scores)]
    )
    (found,) = table.champion_scores.quantiles((q,))
    ordered = sorted(scores)
    place = q * len(scores)
    low, high = ordered[max(int(place) - 1, 0)], ordered[min(int(place), len(scores) - 1)]
    assert low - 0.02 * abs(low) - 0.005 <= found <= high + 0.02 * abs(high) + 0.005
