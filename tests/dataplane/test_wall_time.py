"""Times of rows and spans: of the moment that is meant, however late the worker writes them down."""

from __future__ import annotations

from time import monotonic, sleep, time

from crossfade.dataplane.runtime import wall_time_of

ROUNDING = 1e-5


def test_a_moment_has_its_own_time_however_late_it_is_asked_for() -> None:
    before, moment, after = time(), monotonic(), time()
    sleep(0.05)
    assert wall_time_of(moment) <= after + ROUNDING
    assert wall_time_of(moment + 100.0) > before + 99.0
