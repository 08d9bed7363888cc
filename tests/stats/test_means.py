"""Numbers that come back later, and what is known of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.stats.means import Moments

values = st.lists(st.sampled_from([0, 1, 2, 0.25, -1]), max_size=12)


def moments(numbers) -> Moments:
    out = Moments()
    for number in numbers:
        out.add(number)
    return out


@given(values, values)
def test_merging_is_one_stream(a, b):
    merged = moments(a)
    merged.merge(moments(b))
    assert merged == moments(a + b)


def test_only_zeros_and_ones_are_binary():
    assert moments([0, 1, 1]) == Moments(3, 2.0, 2.0, True)
    assert not moments([0, 0.5]).binary
