from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.config import units
from crossfade.config.problem import BadValue
from crossfade.scale import WHOLE


@pytest.mark.parametrize(
    ("read", "written", "value"),
    [
        (units.seconds, "250ms", 0.25),
        (units.seconds, "2s", 2.0),
        (units.seconds, "1m30s", 90.0),
        (units.seconds, "24h", 86_400.0),
        (units.seconds, "7d", 604_800.0),
        (units.seconds, "1.5h", 5400.0),
        (units.seconds, "0.1s", 0.1),
        (units.seconds, "0", 0.0),
        (units.seconds, 5, 5.0),
        (units.seconds, 0.25, 0.25),
        (units.seconds, "3650d", 3650 * 86_400.0),
        (units.size, "512", 512),
        (units.size, 512, 512),
        (units.size, "64KiB", 65_536),
        (units.size, "10MiB", 10 * 2**20),
        (units.size, "1GB", 10**9),
        (units.size, "1.5 KiB", 1536),
        (units.size, "100B", 100),
        (units.share, "1%", Decimal("0.01")),
        (units.share, "0.01", Decimal("0.01")),
        (units.share, 0.1, Decimal("0.1")),
        (units.share, "0.001%", Decimal("0.00001")),
        (units.share, "100 %", Decimal(1)),
        (units.share, 1, Decimal(1)),
        (units.weight, "0.01%", 1),
        (units.weight, "0.29", 2900),
        (units.weight, "1", 10_000),
        (units.weight, 25, 25),
        (units.weight, 0.25, 2500),
        (units.quantile, "p99", 0.99),
        (units.quantile, "p99.9", 0.999),
        (units.quantile, "p50", 0.5),
        (units.quantile, 0.95, 0.95),
        (units.whole, "-3", -3),
        (units.whole, 7, 7),
        (units.number, "1e3", Decimal(1000)),
        (units.number, "-0.5", Decimal("-0.5")),
    ],
)
def test_a_quantity_is_read(read: Callable[[object], object], written: object, value: object):
    assert read(written) == value


@pytest.mark.parametrize(
    ("read", "written", "message", "suggestion"),
    [
        (
            units.seconds,
            "24 hours",
            'must be a duration such as 250ms, 2s, 24h or 1m30s, not "24 hours"',
            "24h",
        ),
        (units.seconds, "5MIN", 'must be a duration such as 250ms, 2s, 24h or 1m30s, not "5MIN"', "5m"),
        (units.seconds, "soon", 'must be a duration such as 250ms, 2s, 24h or 1m30s, not "soon"', None),
        (units.seconds, None, "must be a duration such as 250ms, 2s, 24h or 1m30s, not empty", None),
        (
            units.seconds,
            "30s1m",
            'must name each unit once, the longest first, as in 1m30s, not "30s1m"',
            None,
        ),
        (units.seconds, "1s1s", 'must name each unit once, the longest first, as in 1m30s, not "1s1s"', None),
        (units.seconds, "-1", "must not be negative", None),
        (units.seconds, "9999d", "must be at most 3650d", None),
        (units.size, "10mb", 'must be a size in B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, not "10mb"', "10MB"),
        (units.size, "10M", 'must be a size in B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, not "10M"', "10MiB"),
        (
            units.size,
            "10 pints",
            'must be a size in B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, not "10 pints"',
            None,
        ),
        (units.size, "-1", 'must be a size such as 64KiB, 10MiB or 512, not "-1"', None),
        (units.size, True, "must be a size such as 64KiB, 10MiB or 512, not True", None),
        (units.size, "0.5", 'must be a whole number of bytes, "0.5" is not', None),
        (
            units.size,
            "1.0000000000000001TiB",
            'must be a whole number of bytes, "1.0000000000000001TiB" is not',
            None,
        ),
        (units.size, "9999TiB", "must be at most 1024TiB", None),
        (units.share, "5", 'must be at most 100% (which is 1), not "5"', "5%"),
        (units.share, "101%", 'must be at most 100% (which is 1), not "101%"', None),
        (
            units.share,
            "100.000000000000001%",
            'must be at most 100% (which is 1), not "100.000000000000001%"',
            None,
        ),
        (units.share, "-1", "must not be negative", None),
        (units.share, "a%", 'must be a share such as 1% or 0.01, not "a%"', None),
        (units.weight, "0.001%", 'must be a multiple of 0.01%, "0.001%" is finer', None),
        (
            units.weight,
            "0.010000000000000001%",
            'must be a multiple of 0.01%, "0.010000000000000001%" is finer',
            None,
        ),
        (units.weight, 10_001, "must be from 0 to 10000, not 10001", None),
        (units.quantile, "p100", 'must be a quantile such as p50, p99 or p99.9, not "p100"', None),
        (units.quantile, "p0", 'must be a quantile such as p50, p99 or p99.9, not "p0"', None),
        (units.quantile, "median", 'must be a quantile such as p50, p99 or p99.9, not "median"', None),
        (units.whole, "1.5", 'must be a whole number, not "1.5"', None),
        (units.whole, "012", 'must be a whole number, not "012"', None),
        (units.whole, True, "must be a whole number, not True", None),
        (units.number, "1:30", 'must be a number, not "1:30"', None),
        (units.number, "nan", 'must be a number, not "nan"', None),
        (units.number, float("inf"), "must be a number, not inf", None),
        (units.number, "9" * 50, f'must be a number, not "{"9" * 50}"', None),
        (units.number, {}, "must be a number, not a mapping", None),
        (units.number, [], "must be a number, not a list", None),
    ],
)
def test_an_invalid_quantity_is_refused(
    read: Callable[[object], object], written: object, message: str, suggestion: str | None
):
    with pytest.raises(BadValue) as caught:
        read(written)
    assert (caught.value.message, caught.value.suggestion) == (message, suggestion)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_every_weight_can_be_written_and_is_read_exactly(parts: int):
    assert units.weight(f"{parts // 100}.{parts % 100:02}%") == parts
    assert units.weight(f"{parts // 10_000}.{parts % 10_000:04}") == parts
    assert units.weight(parts) == parts


@settings(deadline=None)
@given(st.decimals(0, 1, places=18))
def test_a_weight_is_exact_or_refused(share: Decimal):
    exact = Fraction(share) * WHOLE
    try:
        assert units.weight(f"{share:f}") == exact
    except BadValue:
        assert exact.denominator != 1


@settings(deadline=None)
@given(st.integers(0, 10**9))
def test_a_printed_duration_is_read_as_the_same_duration(milliseconds: int):
    assert units.seconds(units.span(milliseconds / 1000)) == milliseconds / 1000


@settings(deadline=None)
@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(st.none()))
def test_a_quantity_is_read_or_refused(written: object):
    for read in (
        units.seconds,
        units.size,
        units.share,
        units.weight,
        units.quantile,
        units.whole,
        units.number,
    ):
        with suppress(BadValue):
            read(written)


@pytest.mark.parametrize(("fraction", "text"), [(0.01, "1%"), (0.07, "7%"), (0.005, "0.5%"), (1.0, "100%")])
def test_a_share_is_printed_as_a_percentage(fraction: float, text: str):
    assert units.percent(fraction) == text
