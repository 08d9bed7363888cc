"""The values of valid rollouts: defaults, approvals, watches, and a rollout with all keys."""

from __future__ import annotations

import pytest

from crossfade.config.model import ApprovalConfig, FuseConfig, StepConfig
from crossfade.config.problem import ConfigError
from crossfade.config.rollout import WatchConfig
from tests.config.sample import rollout, route


def test_a_rollout_has_defaults():
    found = route(rollout()).rollout[0]
    assert (found.strategy, found.champion, found.challenger) == ("canary", "a", "b")
    assert (found.steps, found.checks, found.min_requests, found.max_step_time) == ((), (), 100, None)
    assert (found.on_undecided, found.watch, found.alpha) == ("pause", 0.0, 0.01)
    assert found.fuse == FuseConfig(consecutive_errors=10, error_share=0.5, of_last=20)


@pytest.mark.parametrize(
    ("written", "approval"),
    [
        ("true", True),
        ("false", False),
        ('"${ASK:-true}"', True),
        ("{within: 3d, then: abort}", ApprovalConfig(within=3 * 86_400.0, then="abort")),
        ("{within: 90m}", ApprovalConfig(within=5400.0, then="pause")),
    ],
)
def test_an_approval_is_a_flag_or_has_a_limit(written, approval):
    steps = rollout(steps=f"[{{weight: 5%, approval: {written}}}, {{weight: 50%}}]")
    assert route(steps).rollout[0].steps[0].approval == approval


@pytest.mark.parametrize(
    ("written", "watch"),
    [
        ("24h", 86_400.0),
        ("0", 0.0),
        ("{for: 24h}", WatchConfig.model_validate({"for": "24h"})),
        ("{for: 24h, holdback: 2%}", WatchConfig.model_validate({"for": "24h", "holdback": "2%"})),
        (
            '{for: "${LONG:-24h}", holdback: 0.05}',
            WatchConfig.model_validate({"for": "24h", "holdback": "5%"}),
        ),
    ],
)
def test_a_watch_is_a_duration_or_has_a_holdback(written, watch):
    found = route(rollout(watch=written)).rollout[0].watch
    assert found == watch
    if isinstance(found, WatchConfig):
        assert (found.for_, found.holdback % 100) == (86_400.0, 0)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{then: abort}", "within"),
        ("{within: 0s}", "must be more than 0"),
        ("{within: 3d, then: promote}", "promote"),
        ("{within: 3d, them: abort}", "them"),
        ("maybe", "must be true or false"),
    ],
)
def test_an_approval_that_cannot_be_read_is_named(written, message):
    with pytest.raises(ConfigError) as refused:
        route(rollout(steps=f"[{{weight: 5%, approval: {written}}}, {{weight: 50%}}]"))
    assert message in str(refused.value)
    assert "approval" in str(refused.value)


def test_a_rollout_with_all_keys_is_read():
    found = route(
        rollout(
            steps="[{weight: 0.01%}, {weight: 5%, hold: 48h, approval: true, min_requests: 7}, {weight: 1}]",
            min_requests="5",
            max_step_time="96h",
            on_undecided="abort",
            watch="1d",
            fuse="{consecutive_errors: 3, error_share: 30%, of_last: 10}",
            alpha="0.1%",
        )
    ).rollout[0]
    assert found.steps == (
        StepConfig(weight=1, hold=0.0, approval=False, min_requests=None),
        StepConfig(weight=500, hold=172_800.0, approval=True, min_requests=7),
        StepConfig(weight=10_000),
    )
    assert (found.min_requests, found.max_step_time, found.on_undecided) == (5, 345_600.0, "abort")
    assert (found.watch, found.alpha) == (86_400.0, 0.001)
    assert found.fuse == FuseConfig(consecutive_errors=3, error_share=0.3, of_last=10)


def test_a_fuse_can_be_turned_off():
    found = route(rollout(fuse="false")).rollout[0]
    assert found.fuse is None
