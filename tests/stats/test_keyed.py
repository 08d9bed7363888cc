"""Keys as the unit: reference values, and the direction of the evidence."""

from __future__ import annotations

import pytest

from crossfade.stats.keyed import (
    KeyedEvents,
    KeyedSplit,
    Sizes,
    log_e_keys_below,
    log_e_keys_increase,
    log_e_keys_within,
    pooled_rate,
    sums_of,
)
from crossfade.stats.means import log_e_drift

ALPHA = 0.01
# (side under test, requests, events) of each key
REFERENCE = [
    (1, 20, 4),
    (1, 5, 0),
    (0, 30, 1),
    (0, 10, 0),
    (0, 12, 3),
    (0, 8, 0),
    (1, 15, 1),
    (0, 25, 0),
]


def split(keys, share: float) -> KeyedSplit:
    sides = {0: (Sizes(), KeyedEvents()), 1: (Sizes(), KeyedEvents())}
    for side, n, x in keys:
        sides[side][0].merge(Sizes(1, n, n * n))
        sides[side][1].merge(KeyedEvents(x, x * x, x * n))
    return KeyedSplit(share, sides[1][0], sides[0][0], sides[1][1], sides[0][1])


def test_the_reference_values():
    """Of the revised methods, section 6: w = .25, b = .05, margin .01, ρ = 2."""
    found = sums_of([split(REFERENCE, 0.25)], 0.01, 0.05)
    assert found.s == pytest.approx(2.078125, abs=1e-6)
    assert found.v == pytest.approx(5.631719, abs=1e-6)  # the larger of 5.631719 and 3.207656
    assert log_e_drift(found.s, found.v, 2.0) == pytest.approx(0.050382, abs=1e-6)


def test_one_key_with_all_events_proves_nothing_and_as_many_keys_do():
    healthy = [(0, 20, 0)] * 270 + [(1, 20, 0)] * 29
    one, many = [*healthy, (1, 60, 60)], [*healthy, *[(1, 20, 1)] * 60]
    assert log_e_keys_increase([split(one, 0.1)], 0.0, ALPHA) < 1
    assert log_e_keys_increase([split(many, 0.1)], 0.0, ALPHA) > 10


def test_a_margin_is_allowed():
    keys = [(1, 20, 1)] * 20 + [(1, 20, 0)] * 80 + [(0, 20, 0)] * 900
    assert log_e_keys_increase([split(keys, 0.1)], 0.0, ALPHA) > 5 > 0
    assert log_e_keys_increase([split(keys, 0.1)], 0.02, ALPHA) < 0


def test_the_other_direction_proves_that_a_margin_is_kept_and_few_heavy_keys_do_not():
    alike = [(1, 10, i % 10 == 0) for i in range(2000)] + [(0, 10, i % 10 == 0) for i in range(2000)]
    assert log_e_keys_within([split(alike, 0.5)], 0.01, ALPHA) > 5
    assert log_e_keys_within([split(alike, 0.5)], 0.0, ALPHA) < 1
    heavy = [(1, 5000, 50), (1, 5000, 0), (1, 5000, 0), (0, 5000, 50), (0, 5000, 0), (0, 5000, 0)]
    assert log_e_keys_within([split(heavy, 0.5)], 0.01, ALPHA) < 3


def test_a_limit_of_one_side_is_proven_to_be_kept_by_many_keys_only():
    many = [(1, 10, i % 20 == 0) for i in range(4000)]  # half a percent
    assert log_e_keys_below([split(many, 0.5)], 0.01, ALPHA) > 5
    assert log_e_keys_below([split([(1, 40_000, 200), (1, 10, 1)], 0.5)], 0.01, ALPHA) < 1
    assert log_e_keys_below([split(many, 0.5)], 0.004, ALPHA) < 0


def test_nothing_is_no_evidence():
    assert pooled_rate([]) == log_e_keys_increase([], 0.0, ALPHA) == log_e_keys_within([], 0.1, ALPHA) == 0
