"""Windows and alarms: one alarm for one drift, none without, and the state survives JSON."""

from __future__ import annotations

import random
from math import log

import msgspec
import pytest

from crossfade.quality.monitor import (
    CALM,
    KEPT,
    RUN,
    SCORE,
    Alarm,
    Comparison,
    Detector,
    Monitor,
    add_window,
    close_window,
)
from crossfade.quality.profiling import profile_of
from crossfade.quality.sketch import Sketch
from crossfade.quality.watching import Together

DRAW = random.Random(4)
ROWS = [{"age": DRAW.gauss(40, 10), "plan": DRAW.choice("ab")} for _ in range(5000)]
PROFILE = profile_of(ROWS, [DRAW.random() for _ in range(5000)])
GIVEN = Comparison(PROFILE, 3600.0, 0.05, "v2", PROFILE.score)


def sketch(n: int = 1000, age: float = 40, missing: float = 0, score: float = 1, seed: int = 0) -> Sketch:
    draw, out = random.Random(seed), Sketch()
    assert PROFILE.score is not None
    for _ in range(n):
        value = None if draw.random() < missing else draw.gauss(age, 10)
        out.add_row(PROFILE, {"age": value, "plan": draw.choice("ab")})
        out.add_score(PROFILE.score, "v2", score * draw.random())
    return out


def watch(monitor: Monitor, *sketches: Sketch, begin: int = 0) -> list[Alarm]:
    out = []
    for slot, each in enumerate(sketches, begin):
        out += add_window(monitor, slot, each, GIVEN, 3600.0 * slot)
    return out


def test_without_drift_there_is_no_alarm():
    monitor = Monitor()
    assert watch(monitor, *(sketch(seed=i) for i in range(30))) == []
    assert monitor.windows == 29
    assert monitor.latest.rows == 1000


def test_one_drift_is_one_alarm_until_it_has_gone():
    monitor = Monitor()
    found = watch(monitor, *(sketch(age=50, seed=i) for i in range(10)))
    assert [(alarm.kind, alarm.subject) for alarm in found] == [("data_drift", "age")]
    assert found[0].numbers["distance"] > 0.3
    assert "age: the shares of 1000 values differ by up to 4" in found[0].detail
    assert monitor.detectors["field age"].alarm_at == found[0].at
    assert watch(monitor, *(sketch(seed=i) for i in range(CALM + 1)), begin=10) == []
    assert monitor.detectors["field age"] == Detector()
    again = watch(monitor, *(sketch(age=50, seed=i) for i in range(4)), begin=20)
    assert len(again) == 1
    assert monitor.raised == {"data_drift": 2}
    assert monitor.alarms == [found[0], again[0]]


def test_a_window_of_few_values_does_not_end_an_alarm():
    monitor = Monitor()
    watch(monitor, *(sketch(age=50, seed=i) for i in range(4)))
    watch(monitor, *(sketch(n=20, seed=i) for i in range(10)), begin=4)
    assert monitor.detectors["field age"].alarm_at is not None


def test_scores_have_an_alarm_of_their_own():
    (found,) = watch(Monitor(), *(sketch(score=0.5, seed=i) for i in range(6)))
    assert (found.kind, found.subject) == ("score_drift", "v2")
    assert found.detail.startswith("the scores of v2: ")


def test_missing_values_are_named():
    found = watch(Monitor(), *(sketch(missing=0.4, seed=i) for i in range(6)))
    assert "% are missing, in the profile 0.0%" in found[0].detail


def test_scores_of_another_backend_are_not_the_champions():
    monitor, given = Monitor(), Comparison(PROFILE, 3600.0, 0.05, "v3", PROFILE.score)
    monitor.slot = 0
    monitor.window.add(sketch(score=0.2))
    close_window(monitor, given, 0.0)
    assert SCORE not in monitor.detectors


def test_values_of_one_window_may_come_in_parts_and_late():
    monitor, together = Monitor(), Monitor()
    parts = [sketch(300, seed=1), sketch(500, seed=2), sketch(200, seed=3)]
    add_window(monitor, 4, parts[0], GIVEN, 0.0)
    add_window(monitor, 4, parts[1], GIVEN, 0.0)
    add_window(monitor, 3, parts[2], GIVEN, 0.0)
    whole = Sketch()
    for part in parts:
        whole.add(part)
    add_window(together, 4, whole, GIVEN, 0.0)
    assert monitor == together
    assert (monitor.slot, monitor.windows) == (4, 0)


def test_the_limit_is_one_alarm_in_a_month_for_all_fields_together():
    assert GIVEN.limit == pytest.approx(log(720 * (2 + 3)))
    assert RUN / GIVEN.window == 720


def test_the_state_survives_json():
    monitor = Monitor()
    watch(monitor, sketch(), sketch(age=50), sketch(age=50), sketch(age=50))
    assert msgspec.json.decode(msgspec.json.encode(monitor), type=Monitor) == monitor


def test_another_profile_begins_anew_and_alarms_stay_known():
    monitor = Monitor()
    watch(monitor, *(sketch(age=50, seed=i) for i in range(4)))
    monitor.begin("other")
    assert (monitor.detectors, monitor.slot, monitor.windows, monitor.window) == ({}, -1, 0, Sketch())
    assert len(monitor.alarms) == 1


def test_alarms_are_bounded():
    monitor = Monitor(alarms=[Alarm("data_drift", "x", 0.0, "")] * KEPT)
    watch(monitor, *(sketch(age=50, seed=i) for i in range(4)))
    assert len(monitor.alarms) == KEPT
    assert monitor.alarms[-1].subject == "age"


def batch(log_e: float, epoch: int = 1) -> Together:
    return Together("churn", "", log_e, 200, epoch, 5)


def test_the_test_of_all_fields_alarms_by_its_wealth_in_one_epoch():
    monitor, limit = Monitor(), GIVEN.together_limit(5)
    assert limit == pytest.approx(log(720 / 5 * (2 + 3)))
    assert monitor.bet_together(batch(limit - 1), limit, 0.0) is None
    assert monitor.bet_together(batch(limit - 1, epoch=2), limit, 1.0) is None
    found = monitor.bet_together(batch(1.0, epoch=2), limit, 2.0)
    assert found is not None
    assert (found.kind, found.subject) == ("data_drift", "all fields together")
    assert monitor.bet_together(batch(50.0, epoch=2), limit, 3.0) is None
    for _ in range(CALM):
        assert monitor.detectors["all fields together"].alarm_at == 2.0
        monitor.bet_together(batch(-0.1, epoch=3), limit, 4.0)
    assert monitor.detectors["all fields together"].alarm_at is None
    assert monitor.raised == {"data_drift": 1}


def test_a_drift_that_no_window_shows_alone_is_found_over_many():
    """Each alternative has a detector of its own, so evidence adds up."""
    monitor = Monitor()
    found = watch(monitor, *(sketch(300, age=43, seed=i) for i in range(40)))
    assert [alarm.subject for alarm in found] == ["age"]
    assert found[0].numbers["log_e"] < GIVEN.limit
