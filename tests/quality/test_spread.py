"""The spread of the champion's numbers."""

from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.quality.answer import Output, Row
from crossfade.quality.spread import LEAST, MOST_NAMES, Spreads


def row(value: float, name: str = "km") -> Row:
    return (Output("number", value, name), Output("label", "high", "risk"))


@given(st.lists(st.floats(-1e6, 1e6), min_size=LEAST, max_size=60))
def test_it_is_the_standard_deviation(values: list[float]) -> None:
    spreads = Spreads()
    spreads.add(map(row, values))
    assert spreads.known == {"km": pytest.approx(stdev(values), rel=1e-6, abs=1e-4)}


def test_it_is_known_from_enough_numbers_only() -> None:
    spreads = Spreads()
    spreads.add([row(float(n)) for n in range(LEAST - 1)])
    assert spreads.known == {}


def test_it_is_bounded_and_skips_what_is_no_number() -> None:
    spreads = Spreads()
    for n in range(2 * MOST_NAMES):
        spreads.add([row(float(n), str(n))])
    assert len(spreads.moments) == MOST_NAMES
    spreads.add([row(float("inf"), "0"), row(1e300, "1"), row(-1e300, "1")] * LEAST)
    assert spreads.known == {}
