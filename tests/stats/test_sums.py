"""Counts by key, added in place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossfade.stats.sums import add_up

COUNTS = st.dictionaries(st.integers(0, 5), st.integers(0, 9))


@given(COUNTS, COUNTS)
def test_each_key_has_the_sum_of_both(mine: dict[int, int], more: dict[int, int]):
    before, given_more = dict(mine), dict(more)
    add_up(mine, more)
    assert mine == {key: before.get(key, 0) + more.get(key, 0) for key in before | more}
    assert more == given_more


def test_what_is_added_to_an_empty_sum_is_copied():
    mine: dict[str, int] = {}
    more = {"a": 1}
    add_up(mine, more)
    add_up(mine, more)
    assert (mine, more) == ({"a": 2}, {"a": 1})
