"""Presets expand to plans, and settings of the operator replace those of the preset."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crossfade.config.model import ApprovalConfig, CheckConfig, RolloutConfig, StepConfig
from crossfade.config.rollout import Strategy
from crossfade.rollout.machine import Step
from crossfade.rollout.plan import Fuse, Plan
from crossfade.rollout.strategy import PRESETS, check_of, checks_for_step, expand, split_for_step
from crossfade.scale import LATENCY_TARGETS, WHOLE


def rollout(strategy: Strategy = "canary", **given) -> RolloutConfig:
    return RolloutConfig(strategy=strategy, champion="v2", challenger="v3", **given)


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_each_strategy_expands_to_rising_steps_and_at_least_one_check(strategy):
    plan = expand(rollout(strategy))
    weights = [(s.weight, s.mirror) for s in plan.steps]
    assert weights == sorted(set(weights))
    assert all(s.hold > 0 and s.min_requests == 100 for s in plan.steps)
    assert plan.checks
    assert plan.fuse == Fuse(10, 0.5, 20)
    assert set(PRESETS) == set(get_args(Strategy))


def test_canary_has_four_steps_and_promotes_without_approval():
    plan = expand(rollout())
    assert [s.weight for s in plan.steps] == [100, 500, 2500, 5000]
    assert not any(s.approval for s in plan.steps)


def test_blue_green_has_one_step_at_full_weight():
    assert [(s.weight, s.approval) for s in expand(rollout("blue_green")).steps] == [(WHOLE, False)]


def test_shadow_mirrors_first_and_then_has_the_steps_of_a_canary():
    plan = expand(rollout("shadow"))
    assert [s.mirror for s in plan.steps if s.mirror] == [1000, WHOLE]
    assert plan.steps[2:] == expand(rollout("canary")).steps
    assert not any(s.approval for s in plan.steps)


def test_a_plan_that_ends_without_live_traffic_needs_an_approval():
    ended = expand(rollout("shadow", steps=(StepConfig(mirror=1000), StepConfig(mirror=WHOLE)))).steps
    assert [(s.mirror, s.approval) for s in ended] == [(1000, False), (WHOLE, True)]
    preview = expand(rollout("blue_green", steps=(StepConfig(weight=0), StepConfig(weight=WHOLE)))).steps
    assert [(s.weight, s.approval) for s in preview] == [(0, True), (WHOLE, False)]


COPIED = CheckConfig(metric="latency", quantile=0.9, max=0.5)
LIVE = (
    CheckConfig(metric="error_rate", max_increase=0.01),
    CheckConfig(metric="latency", quantile=0.9, max_ratio=1.5),
    CheckConfig(metric="kpi", name="k", min=1.0),
)


@pytest.mark.parametrize(
    ("step", "checks"), [(0, ()), (1, (COPIED,)), (2, (*LIVE, COPIED)), (3, (*LIVE, COPIED))]
)
def test_a_step_has_the_checks_that_its_traffic_can_answer(step, checks):
    steps = (StepConfig(weight=0), StepConfig(mirror=1000), StepConfig(weight=1000))
    assert checks_for_step(expand(rollout(steps=steps, checks=(*LIVE, COPIED))), step) == tuple(
        map(check_of, checks)
    )


@pytest.mark.parametrize("strategy", ["champion_challenger", "ab_test"])
def test_champion_challenger_and_ab_test_need_an_approval_to_promote(strategy):
    plan = expand(rollout(strategy, steps=(StepConfig(weight=1000), StepConfig(weight=2000))))
    assert [s.approval for s in plan.steps] == [False, True]


def test_settings_of_the_operator_replace_the_preset():
    check = CheckConfig(metric="requests", min=7)
    plan = expand(
        rollout(
            steps=(StepConfig(weight=1000, hold=5, min_requests=9), StepConfig(weight=9000, approval=True)),
            min_requests=30,
            checks=(check,),
            fuse=False,
            alpha=0.05,
            watch=60,
            max_step_time=90,
            on_undecided="abort",
        )
    )
    assert plan.steps == (Step(1000, 5.0, False, 9), Step(9000, 0.0, True, 30))
    assert (plan.checks, plan.fuse, plan.alpha) == ((check_of(check),), None, 0.05)
    assert (plan.watch, plan.max_step_time, plan.on_undecided) == (60, 90, "abort")


LATENCY = CheckConfig(metric="latency", quantile=0.9, max_ratio=2)
TITLES = {"interactive": "50ms", "standard": "200ms", "relaxed": "500ms", "batch": "5s"}


@pytest.mark.parametrize("slo", [None, *LATENCY_TARGETS])
@pytest.mark.parametrize("strategy", get_args(Strategy))
@pytest.mark.parametrize("checks", [(), (CheckConfig(metric="requests", min=9),), (LATENCY,)])
def test_the_class_of_a_route_is_a_check_where_none_is_of_latency(strategy, slo, checks):
    without, found = (expand(rollout(strategy, checks=checks), slo=each) for each in (None, slo))
    added = () if slo is None or LATENCY in checks else (f"p99 latency <= {TITLES[slo]}",)
    assert [c.title for c in found.checks] == [*(c.title for c in without.checks), *added]
    assert msgspec.structs.replace(found, checks=without.checks) == without


@pytest.mark.parametrize(
    ("watch", "expected"), [("24h", (86_400.0, 0)), ({"for": "1h", "holdback": "2%"}, (3600.0, 200))]
)
def test_a_watch_has_a_holdback_only_where_it_is_written(watch, expected):
    plan = expand(rollout(watch=watch))
    assert (plan.watch, plan.holdback) == expected


@pytest.mark.parametrize(
    ("split", "held_back", "after"),
    [
        ({"v2": 5000, "v3": 5000}, 200, {"v2": 200, "v3": 9800}),
        ({"v2": 5000, "v3": 5000}, 1, {"v2": 1, "v3": 9999}),
        ({"v2": 4000, "v3": 4000, "v9": 2000}, 200, {"v2": 160, "v3": 7840, "v9": 2000}),  # of the traffic of both
        ({"v2": 100, "v3": 9400, "v9": 500}, 200, {"v2": 100, "v3": 9400, "v9": 500}),  # no customer goes back
        ({"v2": 200, "v3": 9800}, 0, {"v2": 0, "v3": 10_000}),
    ],
)  # fmt: skip
def test_the_holdback_is_a_part_of_what_both_have(split, held_back, after):
    assert split_for_step(split, "v2", "v3", WHOLE - held_back, held_back) == after


@pytest.mark.parametrize(
    ("check", "title"),
    [
        ("{metric: error_rate, max: 1%}", "error_rate <= 1%"),
        ("{metric: error_rate, max_increase: 0.005}", "error_rate <= champion + 0.5%"),
        ("{metric: latency, quantile: p99, max: 200ms}", "p99 latency <= 200ms"),
        ("{metric: latency, quantile: p99.9, max: 1500ms}", "p99.9 latency <= 1.5s"),
        ("{metric: latency, quantile: p50, max_ratio: 1.25}", "p50 latency <= 1.25 x champion"),
        ("{metric: requests, min: 1000}", "requests >= 1000"),
        ("{metric: score_divergence, max: 0.10}", "score_divergence <= 0.1"),
        ("{metric: disagreement, max: 5%}", "disagreement <= 5%"),
        ("{metric: kpi, name: conversion, min_increase: 0}", "kpi conversion >= champion + 0"),
        ("{metric: kpi, name: cost, max: -1.5}", "kpi cost <= -1.5"),
        ("{metric: kpi, name: bought, kind: event, min: 0.1}", "kpi bought (event) >= 0.1"),
        (
            "{metric: kpi, name: cost, range: [-1, 5e2], max_increase: 2}",
            "kpi cost (-1 to 500) <= champion + 2",
        ),
        ("{metric: prometheus, query: up, max: 0.5}", "prometheus up <= 0.5"),
        ("{metric: prometheus, name: gpu, query: up, min: 1}", "prometheus gpu >= 1"),
    ],
)
def test_a_check_has_a_title(check: str, title: str):
    assert check_of(CheckConfig.model_validate(yaml.safe_load(check))).title == title


@given(st.integers(0, WHOLE), st.integers(0, WHOLE), st.integers(0, WHOLE))
def test_the_split_of_a_step_is_complete_and_keeps_other_backends(other, challenger_weight, weight):
    challenger_weight = min(challenger_weight, WHOLE - other)
    split_before = {"v1": other, "v2": WHOLE - other - challenger_weight, "v3": challenger_weight}
    split = split_for_step(split_before, "v2", "v3", weight)
    assert sum(split.values()) == WHOLE
    assert split["v1"] == other
    assert split["v3"] == min(weight, WHOLE - other)
    assert min(split.values()) >= 0


def test_a_plan_holds_plain_values_only():
    """The journal keeps plans for ever: what pydantic makes of the YAML stays outside."""
    plan = expand(rollout(checks=(*LIVE, COPIED)))
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_the_limit_of_an_approval_is_the_step_s_own():
    limit = ApprovalConfig(within=60.0, then="abort")
    steps = (StepConfig(weight=1000, approval=limit), StepConfig(weight=2000, approval=True))
    first, last = expand(rollout("ab_test", steps=steps)).steps
    assert (first.approval, first.approval_within, first.approval_then) == (True, 60.0, "abort")
    assert (last.approval, last.approval_within) == (True, None)
