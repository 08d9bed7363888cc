"""What stands in the way of an undeploy, and command lines that are refused before anything is done."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from crossfade_backends.deploying import uses
from crossfade_backends.models import main
from tests.ports import free_port

STATUS: dict[str, Any] = {
    "routes": [{"name": "churn", "split": {"old": 1.0, "new": 0.0}, "mirrors": [], "fallback": None}],
    "rollouts": [
        {"route": "churn", "phase": "aborted", "champion": "old", "challenger": "new", "waiting_for": "retry"}
    ],
}


def with_route(**changes: Any) -> dict[str, Any]:
    status = copy.deepcopy(STATUS)
    status["routes"][0] |= changes
    return status


def with_rollout(**changes: Any) -> dict[str, Any]:
    status = copy.deepcopy(STATUS)
    status["rollouts"][0] |= changes
    return status


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (STATUS, []),
        (with_route(split={"old": 0.9999, "new": 0.0001}), ["route churn sends it 0.0001 of its requests"]),
        (with_route(mirrors=[{"to": "new"}]), ["route churn mirrors to it"]),
        (with_route(mirrors=[{"to": "old"}]), []),
        (with_route(fallback="new"), ["route churn falls back to it"]),
        (with_rollout(phase="progressing"), ["the rollout of route churn runs"]),
        (with_rollout(phase="paused", champion="new", challenger="x"), ["the rollout of route churn runs"]),
        (
            with_rollout(phase="promoted", champion="new", challenger="x", waiting_for="the watch"),
            ["route churn is watched, and may go back to it"],
        ),
        (with_rollout(phase="promoted", champion="new", challenger="x", waiting_for="nothing: …"), []),
        (with_rollout(phase="rolled_back", champion="old", waiting_for="…"), []),
    ],
)
def test_each_way_in_which_requests_may_come(status: dict[str, Any], found: list[str]):
    assert list(uses(status, "new")) == found


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["scale", "churn@v3"], "scale to --replicas N, or by a target"),
        (["scale", "churn@v3", "--replicas", "2", "--p99", "10"], "scale to --replicas N, or by a target"),
        (["scale", "churn@v3", "--p99", "10", "--least", "5"], "5..4 replicas: least must be 1 or more"),
        (["scale", "churn@v3", "--replicas", "2"], "churn-v3 is not deployed on this machine (nothing is)"),
        (["undeploy", "churn@v3"], "churn-v3 is not deployed on this machine (nothing is)"),
        (["deploy", "churn@v3"], "does not answer"),
        (["deploy", "churn@v9"], "nothing is 'v9'"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_begins(
    registry: Path, capsys: pytest.CaptureFixture[str], words: list[str], problem: str
):
    assert main([*words, "--registry", str(registry), "--admin", f"http://127.0.0.1:{free_port()}"]) == 1
    assert problem in capsys.readouterr().err
    assert not (registry / ".deployments").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--replicas", "0"],
        ["--replicas", "two"],
        ["--strategy", "hope"],
        ["--rollout", "[1]"],
        ["--rollout", "{a: "],
        ["--in-flight", "many"],
    ],
)
def test_a_wrong_option_is_exit_code_2(words: list[str]):
    with pytest.raises(SystemExit) as ended:
        main(["deploy", "churn@v3", *words])
    assert ended.value.code == 2
