"""The latest outcomes in order, and their units."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout.recent import RecentOutcomes, units_of
from crossfade.scale import RECENT_KEPT
from crossfade.stats.counts import key_of, outcome_of

OUTCOMES = st.lists(
    st.builds(outcome_of, st.one_of(st.none(), st.sampled_from([2, 4, 6, 8, 1 << 40])), st.booleans())
)


def recent(*ticks: str) -> RecentOutcomes:
    """Outcomes by tick, one second apart: `x` is an error."""
    made = RecentOutcomes()
    for at, outcomes in enumerate(ticks):
        made.add([int(o == "x") for o in outcomes], float(at))
    return made


@given(st.lists(st.text("x.", max_size=300), max_size=20), st.integers(1, RECENT_KEPT))
def test_last_returns_the_latest_outcomes_however_they_are_divided_into_ticks(ticks, n):
    assert recent(*ticks).last(n).units == [o == "x" for o in "".join(ticks)][-n:]


def test_old_outcomes_are_dropped():
    long = recent(*["." * 100] * 50)
    assert sum(len(tick.outcomes) for tick in long.ticks) < RECENT_KEPT + 100


@given(OUTCOMES)
def test_units_are_the_latest_outcome_of_each_key(outcomes):
    found = units_of(outcomes)
    recent = RecentOutcomes()
    recent.add(outcomes, 1.0)
    assert recent.last(10**6).units == found
    assert sum(not key_of(one) for one in found) == sum(not key_of(one) for one in outcomes)
    latest = {key_of(one): one for one in outcomes if key_of(one)}
    assert sorted(one for one in found if key_of(one)) == sorted(latest.values())
