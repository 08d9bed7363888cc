"""Comparisons by route and challenger: when they begin anew, what is forgotten, and what is saved."""

from __future__ import annotations

import msgspec
import pytest

from crossfade.control.comparisons import MOST_CHALLENGERS, Comparisons
from crossfade.quality.compared import Compared
from crossfade.quality.table import ComparisonTable


def some(n: int) -> ComparisonTable:
    out = ComparisonTable()
    for i in range(n):
        out.add(Compared(str(i), 5.0, None, changed=True, raised=True, distance=0.5), 0.1)
    return out


def pairs_of(comparisons: Comparisons, route: str = "churn") -> dict[str, int]:
    return {each.challenger: each.table.sums.n for each in comparisons.of(route)}


def test_parts_of_one_challenger_add_up():
    comparisons = Comparisons()
    comparisons.add("churn", "v3", "v2", some(2), 10.0)
    comparisons.add("churn", "v3", "v2", some(3), 20.0)
    comparisons.add("churn", "v4", "v2", some(1), 15.0)
    comparisons.add("other", "v3", "v2", some(1), 15.0)
    (v3, _) = comparisons.of("churn")
    assert (v3.champion, v3.since, v3.until) == ("v2", 10.0, 20.0)
    assert pairs_of(comparisons) == {"v3": 5, "v4": 1}
    assert comparisons.of("nowhere") == []


def test_what_is_added_is_not_changed_by_what_comes_later():
    comparisons, part = Comparisons(), some(2)
    comparisons.add("churn", "v3", "v2", part, 10.0)
    comparisons.add("churn", "v3", "v2", some(3), 20.0)
    assert part == some(2)


def test_a_new_attempt_starts_empty():
    comparisons = Comparisons()
    comparisons.add("churn", "v3", "v2", some(2), 10.0)
    comparisons.begin("churn", "v3", 30.0)
    comparisons.begin("churn", "v9", 30.0)
    (v3,) = comparisons.of("churn")
    assert (v3.since, v3.table) == (30.0, ComparisonTable())


def test_with_another_champion_it_starts_empty():
    comparisons = Comparisons()
    comparisons.add("churn", "v4", "v2", some(2), 10.0)
    comparisons.add("churn", "v4", "v3", some(1), 20.0)
    (v4,) = comparisons.of("churn")
    assert (v4.champion, v4.since, v4.table.sums.n) == ("v3", 20.0, 1)


def test_routes_that_are_gone_are_forgotten():
    comparisons = Comparisons()
    comparisons.add("churn", "v3", "v2", some(2), 10.0)
    comparisons.add("other", "v3", "v2", some(2), 10.0)
    comparisons.keep({"churn"})
    assert comparisons.of("other") == []
    assert pairs_of(comparisons) == {"v3": 2}


def test_of_too_many_challengers_the_one_that_ended_first_is_forgotten():
    comparisons = Comparisons()
    for i in range(MOST_CHALLENGERS + 1):
        comparisons.add("churn", f"v{i}", "v", some(1), 100.0 + i)
    assert list(pairs_of(comparisons)) == [f"v{i}" for i in range(MOST_CHALLENGERS, 0, -1)]


def test_they_are_read_as_they_were_saved():
    comparisons = Comparisons()
    comparisons.add("churn", "v3", "v2", some(2), 10.0)
    comparisons.add("churn", "v4", "v2", some(30), 11.0)
    assert Comparisons.from_bytes(comparisons.to_bytes()).by_route == comparisons.by_route


def test_what_is_no_comparison_is_refused():
    with pytest.raises(msgspec.DecodeError):
        Comparisons.from_bytes(b"nothing")
