"""The compiled tally of durations gives the histograms of `stats.histogram`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossfade.dataplane.tally import histogram_of
from crossfade.stats.histogram import Histogram, upper_edge

EDGES = st.integers(0, 1200).map(upper_edge)
DURATIONS = st.floats(0.0, 1e9) | st.floats(0.0, 2.0) | EDGES | EDGES.map(lambda edge: edge * (1 + 2**-52))


@given(st.lists(DURATIONS, max_size=40))
def test_each_duration_is_in_the_bucket_that_it_has_by_itself(durations: list[float]) -> None:
    for _ in range(2):  # nothing is left of the first
        assert histogram_of(durations) == Histogram.of(durations)
