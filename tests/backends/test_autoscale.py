"""Laws of the autoscaling, for any load, and the page of metrics that it reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_backends.admin_client import AdminClient
from crossfade_backends.autoscale import Change, Reading, Target, decide, right_number
from crossfade_backends.deployments import Replica, Routing, Wanted
from crossfade_backends.proxy_load import Load, load_of, p99_between
from crossfade_backends.scaling import Scaling

loads = st.floats(0, 1000, allow_nan=False)
targets = st.builds(
    lambda least, more, in_flight, up, down, cool: Target(
        least, least + more, in_flight, None, up, down, cool
    ),
    st.integers(1, 5),
    st.integers(0, 20),
    st.floats(0.1, 50),
    st.sampled_from([0.0, 5.0, 10.0]),
    st.sampled_from([0.0, 5.0, 60.0]),
    st.sampled_from([0.0, 3.0, 30.0]),
)
both = st.builds(
    lambda target, p99: Target(target.least, target.most, target.in_flight, p99), targets, st.floats(0.001, 5)
)
latencies = st.none() | st.floats(0, 10)


def followed(
    target: Target, replicas: int, load: Callable[[float], float], seconds: int
) -> list[tuple[float, int]]:
    """Reads each second and does at once what is decided; the changes with their times."""
    changes, readings, changed_at = [], list[Reading](), -math.inf
    for now in map(float, range(seconds)):
        readings.append(Reading(now, load(now)))
        if change := decide(target, replicas, readings, changed_at, now):
            replicas, changed_at = change.replicas, now
            changes.append((now, replicas))
            readings.clear()
    return changes


@given(both, st.integers(0, 40), st.lists(st.tuples(loads, latencies), max_size=20), st.floats(0, 30))
def test_a_change_is_within_the_limits_and_is_one(target, replicas, read, now):
    readings = [Reading(float(n), *each) for n, each in enumerate(read)]
    change = decide(target, replicas, readings, -math.inf, now)
    if change is not None:
        assert target.least <= change.replicas <= target.most
        assert change.replicas != replicas


@given(targets, st.integers(1, 25), loads)
def test_a_constant_load_is_followed_once_up_or_down_and_then_nothing_changes(target, replicas, load):
    start = min(max(replicas, target.least), target.most)
    changes = followed(target, start, lambda now: load, 140)
    assert len(changes) <= 1
    after = changes[-1][1] if changes else start
    assert after == target.most or load <= after * target.in_flight


@given(both, st.integers(1, 25), loads, loads, latencies)
def test_more_load_never_asks_for_fewer(target, replicas, one, other, p99):
    less, more = sorted((one, other))
    assert right_number(target, replicas, Reading(0, less, p99)) <= right_number(
        target, replicas, Reading(0, more, p99)
    )


@given(targets, st.lists(st.sampled_from([0.0, 3.0, 30.0, 300.0]), min_size=20, max_size=20))
def test_two_changes_are_a_cool_down_apart_whatever_comes(target, wave):
    changes = followed(target, target.least, lambda now: wave[int(now) // 7], 140)
    assert all(b - a >= target.cool_down for (a, _), (b, _) in pairwise(changes))


@given(targets, st.integers(1, 50))
def test_one_high_reading_adds_nothing_and_one_low_one_takes_nothing_away(target, at):
    slow = Target(target.least, target.most, target.in_flight, None, up_after=5, down_after=5, cool_down=0)
    assert slow.in_flight is not None
    calm = slow.in_flight * slow.least * 0.9
    assert followed(slow, slow.least, lambda now: 1000.0 if now == at else calm, 60) == []
    busy = slow.in_flight * slow.most * 0.9
    assert followed(slow, slow.most, lambda now: 0.0 if now == at else busy, 60) == []


def test_up_quickly_down_slowly():
    target = Target(1, 8, in_flight=4.0)
    changes = followed(target, 1, lambda now: 30.0 if now < 60 else 1.0, 300)
    assert changes == [(10.0, 8), (120.0, 1)]


def test_up_to_the_least_and_down_to_the_most_that_was_right():
    target = Target(1, 8, in_flight=1.0, up_after=2, down_after=2, cool_down=0)
    wanted = [[3.0, 7.0, 5.0], [2.0, 0.5, 1.6]]
    found = [
        decide(target, now, [Reading(float(n), load) for n, load in enumerate(loads)], -math.inf, 2.0)
        for now, loads in zip((1, 5), wanted, strict=True)
    ]
    assert [change.replicas for change in found if change] == [3, 3]


def test_by_latency_one_replica_at_a_time():
    target = Target(1, 8, p99=0.2)
    right = [right_number(target, 3, Reading(0, 99, p99)) for p99 in (0.3, 0.2, 0.15, 0.1, 0.05)]
    assert right == [4, 3, 3, 3, 2]
    # A model that hangs answers nothing either.
    assert right_number(target, 3, Reading(0, 0, None)) == 2
    assert right_number(target, 3, Reading(0, 1, None)) == 3
    # Either of two targets is enough for more; fewer need both.
    target = Target(1, 8, in_flight=4.0, p99=0.2)
    assert [right_number(target, 3, Reading(0, n, 0.3)) for n in (1, 12, 20)] == [4, 4, 5]
    assert [right_number(target, 3, Reading(0, n, 0.05)) for n in (1, 12, 20)] == [2, 3, 5]


def test_what_is_outside_of_the_limits_comes_back_at_once():
    target = Target(2, 4, in_flight=1.0)
    assert decide(target, 9, [], 0.0, 0.0) == Change(4, "outside of least and most")
    assert decide(target, 1, [], 0.0, 0.0) == Change(2, "outside of least and most")


def test_nothing_is_decided_before_it_is_known_for_long_enough():
    target = Target(1, 4, in_flight=1.0, up_after=10, cool_down=30)
    readings = [Reading(float(n), 9.0) for n in range(11)]
    assert decide(target, 1, readings, -math.inf, 9.9) is None
    assert decide(target, 1, readings[1:], -math.inf, 10.0) is None
    assert decide(target, 1, readings, 0.0, 10.0) is None  # the cool-down
    found = decide(target, 1, readings, -math.inf, 10.0)
    assert found is not None
    assert (found.replicas, found.reason) == (4, "9 requests in flight: too much for 1 for 10 s")


@pytest.mark.parametrize(
    "wrong",
    [
        {"least": 0},
        {"least": 5},
        {"in_flight": None},
        {"in_flight": 0.0},
        {"in_flight": math.nan},
        {"p99": -1.0},
        {"cool_down": -1.0},
        {"up_after": math.inf},
    ],
)
def test_a_target_that_cannot_be_followed_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must be|needs|must not"):
        Target(**{"least": 1, "most": 4, "in_flight": 1.0, **wrong})


PAGE = """# HELP crossfade_in_flight Requests in flight.
crossfade_in_flight{backend="churn-v3"} 3.0
crossfade_in_flight{backend="churn-v2"} 50.0
crossfade_queue_length{backend="churn-v3"} 2.0
crossfade_request_duration_seconds_bucket{backend="churn-v3",le="0.1",role="champion",route="a"} 99.0
crossfade_request_duration_seconds_bucket{backend="churn-v3",le="+Inf",role="champion",route="a"} 99.0
crossfade_request_duration_seconds_bucket{backend="churn-v3",le="0.1",role="shadow",route="b\\"}"} 0.0
crossfade_request_duration_seconds_bucket{backend="churn-v3",le="0.5",role="shadow",route="b\\"}"} 1.0
crossfade_request_duration_seconds_bucket{backend="churn-v3",le="+Inf",role="shadow",route="b\\"}"} 1.0
crossfade_request_duration_seconds_bucket{backend="churn-v2",le="0.1",role="champion",route="a"} 7.0
crossfade_first_byte_seconds_bucket{backend="churn-v3",le="0.1",role="champion",route="a"} 7.0
process_open_fds 12.0
"""


def test_the_page_of_metrics_is_read_for_one_backend():
    load = load_of(PAGE, "churn-v3")
    assert load.in_flight == 5
    assert load.buckets == {0.1: 99, 0.5: 1, math.inf: 100}
    assert load_of(PAGE, "churn-v4") == Load()


@pytest.mark.parametrize(
    ("counts", "p99"),
    [
        ({0.1: 0, 0.5: 0, math.inf: 0}, None),
        ({0.1: 99, 0.5: 100, math.inf: 100}, 0.1),
        ({0.1: 98, 0.5: 100, math.inf: 100}, 0.5),
        ({0.1: 0, 0.5: 0, math.inf: 100}, 0.5),
    ],
)
def test_p99_is_of_the_answers_between_two_readings(counts, p99):
    before = load_of(PAGE, "churn-v2")
    after = Load(0, before.buckets + Load(0, before.buckets.__class__(counts)).buckets)
    before.buckets.update({math.inf: 7, 0.5: 7})
    for bound in (0.5, math.inf):
        after.buckets[bound] = 7 + counts[bound]
    after.buckets[0.1] = 7 + counts[0.1]
    assert p99_between(before, after) == p99


class Metrics(AdminClient):
    """The proxy's page, with these answers since its start by their upper bound."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.answers = (0, 0)

    def metrics(self) -> str:
        quick, all_of_them = self.answers
        head = 'crossfade_request_duration_seconds_bucket{backend="churn-v3",'
        return f'{head}le="0.1"}} {quick}\n{head}le="0.5"}} {all_of_them}\n{head}le="+Inf"}} {all_of_them}\n'


def test_the_p99_is_of_one_life_of_the_proxy(tmp_path: Path):
    """Its counts begin again when it is started again: differences to those before would say nothing."""
    target = Target(1, 4, None, 0.2)
    routing = Routing(admin="http://127.0.0.1:1", file=tmp_path / "routing.yaml", backend="churn-v3")
    wanted = Wanted(name="churn", version="v3", replicas=1, target=target, routing=routing)
    scaling, metrics = Scaling(tmp_path), Metrics()
    for now, answers in enumerate([(100, 100), (100, 300), (150, 150), (150, 250), (150, 350)]):
        metrics.answers = answers
        scaling.look(wanted, [Replica(id=1, state="up")], metrics, float(now))
    assert [reading.p99 for reading in scaling.readings] == [None, 0.5, None, 0.5, 0.5]
