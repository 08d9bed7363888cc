"""The champion's loss over time: what counts, what it is compared with, and when it alarms."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from crossfade.quality.loss_watch import REFERENCE, Labelled, Looks, LossWatch, loss_of
from crossfade.quality.monitor import CALM, Monitor
from crossfade.stats.drift import detector_limit

GIVEN = Looks(0.05, detector_limit(720, 5))


@pytest.mark.parametrize(
    ("score", "label", "truth", "expected"),
    [
        (0.25, None, 1, 0.5625),
        (0.25, "x", 0, 0.0625),
        (None, "a", "a", 0.0),
        (None, "a", "b", 1.0),
        (None, True, 1, 0.0),
        (None, 3, 4, 1.0),
        (0.4, "a", "a", 0.0),
        (7.0, 7, 7.5, 1.0),
        (None, "a", 1, None),
        (None, None, 1, None),
        (0.5, None, "a", None),
    ],
)
def test_losses(score, label, truth, expected):
    assert loss_of(Labelled(1, score, label, truth)) == expected


def labels(n: int, wrong: float, seed: int, keyed: bool = False) -> list[Labelled]:
    draw = random.Random(seed)
    return [
        Labelled(7 if keyed else draw.getrandbits(64), None, "a", "b" if draw.random() < wrong else "a")
        for _ in range(n)
    ]


def watched(*windows: list[Labelled], watch: LossWatch | None = None, monitor: Monitor | None = None) -> Any:
    """A window each; returns the watch and the alarms."""
    watch, monitor = watch or begun(), monitor or Monitor()
    alarms = []
    for rows in [*windows, []]:
        slot = watch.slot + 1
        found = watch.look(monitor, slot, GIVEN, 3600.0 * slot)
        if found is not None:
            alarms.append(found)
        units: set[int] = set()
        for row in rows:
            watch.add(row, units)
    return watch, alarms


def begun(loss: float | None = None, n: int = 0) -> LossWatch:
    watch = LossWatch()
    watch.begin("v2", loss, n)
    return watch


def test_the_first_labels_say_what_the_loss_was():
    watch, alarms = watched(labels(REFERENCE, 0.2, 1), labels(500, 0.2, 2))
    assert (watch.reference.n, watch.latest.n, watch.windows) == (REFERENCE, 500, 1)
    assert watch.reference.value == pytest.approx(0.2, abs=0.04)
    assert alarms == []


def test_a_profile_says_it_better():
    watch, _ = watched(labels(300, 0.2, 1), watch=begun(0.2, 5000))
    assert (watch.reference.n, watch.reference.value, watch.latest.n) == (5000, 0.2, 300)
    assert watch.is_of("v2", 0.2, 5000)
    assert (
        not watch.is_of("v2", 0.2, 5001)
        and not watch.is_of("v3", 0.2, 5000)
        and not watch.is_of("v2", None, 0)
    )
    assert begun().is_of("v2", None, 0)
    assert begun(0.2, 0).is_of("v2", 0.2, 0)


def test_a_loss_that_rises_is_one_alarm_until_it_has_fallen():
    watch, monitor = begun(0.2, 5000), Monitor()
    _, alarms = watched(*(labels(500, 0.2, i) for i in range(20)), watch=watch, monitor=monitor)
    assert alarms == []
    _, alarms = watched(*(labels(500, 0.45, i) for i in range(6)), watch=watch, monitor=monitor)
    (alarm,) = alarms
    assert (alarm.kind, alarm.subject) == ("concept_drift", "v2")
    assert alarm.detail.startswith("the mean loss of v2 is 0.4")
    assert alarm.detail.endswith("it was 0.2 in 5000, and 0.05 more is allowed")
    _, alarms = watched(*(labels(500, 0.2, i) for i in range(CALM + 1)), watch=watch, monitor=monitor)
    assert alarms == []
    assert monitor.detectors["loss"].alarm_at is None


def test_a_loss_within_the_tolerance_is_no_alarm():
    _, alarms = watched(*(labels(1000, 0.245, i) for i in range(100)), watch=begun(0.2, 100_000))
    assert alarms == []


def test_a_customer_counts_once_in_a_window():
    watch, _ = watched(labels(50, 0.0, 1, keyed=True), labels(50, 0.0, 2, keyed=True), watch=begun(0.2, 5000))
    assert (watch.windows, watch.latest.n) == (2, 1)


def test_a_window_without_labels_is_no_look():
    watch, _ = watched([], [], labels(5, 0.0, 1), watch=begun(0.2, 100))
    assert watch.windows == 1


def test_another_backend_begins_anew_and_is_not_fed_twice():
    watch, _ = watched(labels(300, 0.2, 1), watch=begun(0.2, 5000))
    watch.fed_to = 300
    watch.begin("v3", None, 0)
    assert (watch.fed_to, watch.reference.n, watch.windows, watch.backend) == (300, 0, 0, "v3")


def test_it_survives_json():
    watch, _ = watched(labels(300, 0.2, 1), labels(40, 0.3, 2), watch=begun(0.2, 5000))
    assert msgspec.json.decode(msgspec.json.encode(watch), type=LossWatch) == watch


def test_a_window_that_has_become_longer_does_not_stop_the_watch():
    watch, monitor = begun(0.2, 5000), Monitor()
    for slot in (1000, 1001, 41, 42):
        watch.look(monitor, slot, GIVEN, 0.0)
        watch.add(Labelled(slot, None, "a", "a"), set())
    assert (watch.slot, watch.windows) == (42, 3)
