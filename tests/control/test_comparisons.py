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


def expecting(attempt: str = "v3 1", as_read: str = "a", version: int = 1) -> Comparisons:
    """With two pairs of v3, as an attempt began."""
    comparisons = Comparisons()
    comparisons.expect("churn", as_read, {"v3": attempt}, version, 5.0)
    comparisons.add("churn", "v3", "v2", some(2), 10.0)
    return comparisons


@pytest.mark.parametrize(
    ("attempts", "as_read", "left"),
    [
        ({"v3": "v3 1"}, "a", 2),
        ({"v3": "v3 2"}, "a", 0),
        ({"v3": "v3 1"}, "b", 0),
        ({"v4": "v4 1"}, "a", 2),
        ({}, "a", 2),
        ({}, "b", 0),
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_another_attempt_or_another_reading_starts_empty(
    attempts: dict[str, str], as_read: str, left: int, restarted: bool
):
    """Also where the proxy was stopped meanwhile."""
    before = expecting()
    after = Comparisons() if restarted else before
    after.restore(before.to_bytes())
    after.expect("churn", as_read, attempts, 2, 30.0)
    (v3,) = after.of("churn")
    assert (v3.since, v3.table.sums.n) == (10.0 if left else 30.0, left)
    after.add("churn", "v3", "v2", some(1), 31.0)
    after.expect("churn", as_read, attempts, 3, 32.0)
    assert pairs_of(after) == {"v3": left + 1}, "a second look changes nothing"


def test_a_rollout_that_left_and_came_back_starts_empty():
    comparisons = expecting()
    comparisons.expect("churn", "a", {}, 2, 20.0)
    assert pairs_of(comparisons) == {"v3": 2}, "what has ended can be looked at"
    comparisons.expect("churn", "a", {"v3": "v3 1"}, 3, 30.0)
    assert pairs_of(comparisons) == {"v3": 0}


def test_what_comes_late_of_an_ended_attempt_or_reading_is_known_by_its_ledger_and_its_reading():
    comparisons = expecting(version=4)
    late = comparisons.is_late
    assert not late("churn", "v3", "a", 4)
    assert late("churn", "v3", "a", 3)
    assert late("churn", "v3", "b", 4)
    comparisons.expect("churn", "a", {"v3": "v3 1"}, 5, 20.0)
    assert not late("churn", "v3", "a", 4), "another step of the same attempt"
    comparisons.expect("churn", "a", {"v3": "v3 2"}, 6, 30.0)
    assert (late("churn", "v3", "a", 5), late("churn", "v3", "a", 6)) == (True, False)
    assert not late("churn", "v4", "a", 1), "a mirror without a rollout"
    comparisons.keep({"other"})
    assert not late("churn", "v3", "z", 1), "nothing is known of the route"


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


def test_what_was_saved_by_a_proxy_that_did_not_say_how_it_read_starts_empty():
    saved = msgspec.msgpack.encode(
        [
            {
                "route": "churn",
                "champion": "v2",
                "challenger": "v3",
                "since": 1.0,
                "until": 2.0,
                "table": some(2),
            }
        ]
    )
    comparisons = Comparisons()
    comparisons.restore(saved)
    assert pairs_of(comparisons) == {"v3": 2}
    comparisons.expect("churn", "a", {}, 1, 30.0)
    assert pairs_of(comparisons) == {"v3": 0}
