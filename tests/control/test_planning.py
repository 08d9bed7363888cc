"""What one file after another means for traffic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.config.load import Loaded, load
from crossfade.control.planning import MirrorLoad, PlannedLoad, plan_load
from tests.control.harness import CANARY, HEAD


def file(*routes: str) -> Loaded:
    return load(f"{HEAD}routes:\n{''.join(routes)}", "routing.yaml", {})


def route(name: str, split: str, more: str = "") -> str:
    return f"  - {{name: {name}, match: {{path: /{name}}}, split: {{{split}}}{more}}}\n"


def planned(old: Loaded, new: Loaded) -> PlannedLoad:
    found = plan_load(old, new)
    assert found.refused == ""
    return found


def test_the_same_file_changes_nothing() -> None:
    same = load(HEAD + CANARY, "routing.yaml", {})
    assert planned(same, same) == PlannedLoad("", [], [])


@given(
    before=st.integers(0, 100),
    after=st.integers(0, 100),
)
def test_as_many_customers_move_as_the_weights_ask_for_and_from_where_they_sink(
    before: int, after: int
) -> None:
    found = planned(
        file(route("a", f"v2: {100 - before}%, v3: {before}%")),
        file(route("a", f"v2: {100 - after}%, v3: {after}%")),
    )
    moved = found.routes[0].moved if found.routes else None
    expected = abs(before - after) * 100
    if not expected:
        assert moved is None
        return
    assert moved is not None
    assert (moved.buckets, moved.of) == (expected, {"v2→v3" if after > before else "v3→v2": expected})


def test_routes_that_come_and_go_and_one_that_has_another_name() -> None:
    old = file(route("kept", "v2: 1"), route("gone", "v2: 1"), route("old", "v2: 90%, v3: 10%"))
    new = file(
        route("kept", "v2: 1"),
        route("fresh", "v4: 1"),
        route("named", "v2: 80%, v3: 20%", ", renamed_from: old"),
    )
    found = {route.route: route for route in planned(old, new).routes}
    assert list(found) == ["fresh", "named", "gone"]
    assert (found["fresh"].is_new, found["fresh"].to) == (True, {"v4": 1.0})
    assert (found["gone"].is_gone, found["gone"].to) == (True, {})
    assert (found["named"].is_new, found["named"].moved.buckets) == (False, 1000)


def test_another_order_of_routes_is_said() -> None:
    a, b, c = (route(name, "v2: 1") for name in "abc")
    assert planned(file(a, b), file(a, c, b)).general == []
    (said,) = planned(file(a, b), file(b, a)).general
    assert said.startswith("the order of the routes: a, b → b, a")


def test_backends_that_change_are_said() -> None:
    old = file(route("a", "v2: 1"))
    moved = HEAD.replace("127.0.0.1:9002", "127.0.0.1:9092")
    new = load(f"{moved}routes:\n{route('a', 'v2: 1')}", "routing.yaml", {})
    assert any("127.0.0.1:9092 is new" in said for said in planned(old, new).general)


def test_what_mirrors_add_is_said_by_backend_with_the_largest_step() -> None:
    reads = ", prediction: {score: p, decision: 0.5}, retry: {pure: true}"
    steps = "[{weight: 0%, mirror: 50%, hold: 1h}, {weight: 5%, hold: 1h}]"
    rollout = f", rollout: {{strategy: canary, champion: v2, challenger: v3, steps: {steps}, checks: [{{metric: error_rate, max: 1%}}]}}"
    old = file(route("a", "v2: 1", reads))
    new = file(
        route("a", "v2: 1", f"{reads}, mirror: [{{to: v4, sample: 40%, noise: 10%, safe: true}}]{rollout}")
    )
    (found,) = planned(old, new).routes
    loads = {load.to: load for load in found.mirrors}
    assert loads["v4"] == MirrorLoad("v4", 0.0, 0.4, 0.4)
    assert loads["v2"].after == pytest.approx(0.04)
    assert (loads["v3"].before, loads["v3"].most) == (0.0, 0.5)
    (steps_said,) = found.rollouts
    assert [(step.weight, step.mirror, step.hold) for step in steps_said.steps] == [
        (0.0, 0.5, 3600.0),
        (0.05, 0.0, 3600.0),
    ]
    assert found.moved.buckets == 0  # a rollout begins by itself, later
