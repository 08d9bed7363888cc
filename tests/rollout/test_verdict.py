"""Shares and durations as people read them."""

from __future__ import annotations

import pytest

from crossfade.rollout.verdict import duration, percent


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0%"), (0.0052, "0.52%"), (0.12345, "12.3%"), (1.0, "100%"), (0.00001234, "0.00123%")],
)
def test_a_share(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.0015, "1.5ms"),
        (0.182, "182ms"),
        (0.9994, "999ms"),
        (1.0, "1s"),
        (4.5, "4.5s"),
        (59.4, "59.4s"),
        (60.0, "1m"),
        (61.4, "1m 1s"),
        (200.0, "3m 20s"),
        (3599.4, "59m 59s"),
        (3600.0, "1h"),
        (3659.0, "1h"),
        (7500.0, "2h 5m"),
        (86_399.0, "23h 59m"),
        (86_400.0, "1d"),
        (100_800.0, "1d 4h"),
        (864_000.0, "10d"),
    ],
)
def test_a_duration(seconds, text):
    assert duration(seconds) == text
