"""What `why` says would change the decision: what is undecided, how near a FAIL is, the fuse, the time."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.config.model import RolloutConfig
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.verdict_views import would_change
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.machine import Phase, RolloutState
from crossfade.rollout.strategy import expand
from crossfade.rollout.verdict import Finding, Verdict


def rollout(*findings: Finding, phase: Phase = Phase.PROGRESSING, **keys: Any) -> RolloutRuntime:
    """One that has come to these findings."""
    plain = {"strategy": "canary", "champion": "v2", "challenger": "v3", "fuse": False} | keys
    config = RolloutConfig.model_validate(plain)
    state = RolloutState(
        "r", "canary", "v2", "v3", "i", expand(config).steps, 60.0, 0.0, 0.0, 0.0, phase, begun=True
    )
    made = RolloutRuntime()
    made.update(config, expand(config), state, Evidence("v2", "v3"), True, {})
    made.verdicts = findings
    return made


def finding(verdict: Verdict, **numbers: Any) -> Finding:
    return Finding("error_rate <= 1%", verdict, "as it is", **numbers)


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.UNDECIDED, Verdict.VOID])
def test_evidence_says_how_far_a_fail_is(verdict):
    found = would_change(rollout(finding(verdict, evidence=1.25, bound=6.214)))
    assert found == ["error_rate <= 1%: 1 in 4 so far; a FAIL needs 1 in 500"]


@pytest.mark.parametrize(
    ("verdict", "numbers"),
    [
        (Verdict.FAIL, {"evidence": 7.0, "bound": 6.2}),
        (Verdict.PASS, {"evidence": 1.2}),
        (Verdict.PASS, {"bound": 6.2}),
        (Verdict.PASS, {"eta_requests": 300}),
        (Verdict.PASS, {}),
    ],
)
def test_nothing_is_said_of_a_fail_nor_without_both_numbers(verdict, numbers):
    assert would_change(rollout(finding(verdict, **numbers))) == []


def test_no_evidence_at_all_is_told_too():
    assert would_change(rollout(finding(Verdict.PASS, evidence=0.0, bound=6.2))) == [
        "error_rate <= 1%: no evidence of it; a FAIL needs 1 in 490"
    ]


def test_what_is_undecided_says_how_many_requests_it_wants():
    undecided = finding(Verdict.UNDECIDED, evidence=1.2, bound=6.2, eta_requests=300)
    assert would_change(rollout(undecided)) == [
        "error_rate <= 1%: about 300 more requests on v3 decide it",
    ]


def test_without_traffic_on_trial_no_check_would_change_anything():
    ended = rollout(finding(Verdict.PASS, evidence=1.2, bound=6.2), phase=Phase.ABORTED)
    assert would_change(ended) == []
    ended.waiting_for = "retry"
    assert would_change(ended) == ["it waits for retry"]


@pytest.mark.parametrize(
    ("phase", "limit"),
    [
        (Phase.PROGRESSING, ["max_step_time: after 2m undecided it will abort"]),
        (Phase.PROMOTED, []),
    ],
)
def test_the_fuse_acts_as_long_as_it_is_guarded_and_time_while_it_runs(phase, limit):
    fuse = {"consecutive_errors": 7, "error_share": 0.25, "of_last": 40}
    made = rollout(phase=phase, fuse=fuse, max_step_time=120.0, on_undecided="abort")
    made.state = made.state if phase is Phase.PROGRESSING else watched(made.state)
    assert would_change(made) == [
        "the fuse: 7 errors in a row, or 25% of the last 40, end it at once",
        *limit,
    ]


def watched(state: RolloutState) -> RolloutState:
    """Promoted, and watched for a while yet."""
    return replace(state, watch_until=9e9)
