"""What stands in the way of an undeploy, and command lines that are refused before anything is done."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from crossfade_backends import deploying
from crossfade_backends.admin_client import AdminClient
from crossfade_backends.deploying import DeployError, Deployment, Entry, Place, deploy, undeploy, uses
from crossfade_backends.deployments import (
    Seen,
    Wanted,
    change_wanted,
    ensure_supervisor,
    folder_of,
    forget,
    read_wanted,
)
from crossfade_backends.models import main
from crossfade_backends.registry import Metadata
from loadtests.ports import free_port

STATUS: dict[str, Any] = {
    "routes": [{"name": "churn", "split": {"old": 1.0, "new": 0.0}, "mirrors": [], "fallback": None}],
    "rollouts": [
        {"route": "churn", "phase": "aborted", "champion": "old", "challenger": "new", "watched": False}
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
            with_rollout(phase="promoted", champion="new", challenger="x", watched=True),
            ["route churn is watched, and may go back to it"],
        ),
        (with_rollout(phase="promoted", champion="new", challenger="x"), []),
        (with_rollout(phase="rolled_back", champion="old"), []),
    ],
)
def test_each_way_in_which_requests_may_come(status: dict[str, Any], found: list[str]):
    assert list(uses(status, "new")) == found


def placed(monkeypatch: pytest.MonkeyPatch, root: Path, file: Path) -> Place:
    """Where replicas are up at once, and no process is started."""
    monkeypatch.setattr(deploying, "entry_of", lambda *given: Entry("a-b-c", {"name": ""}, "", file))
    monkeypatch.setattr(deploying, "_settled", lambda *given: Seen())
    return Place(root, AdminClient("http://127.0.0.1:1"), file, 1.0)


def deployment(name: str, version: str) -> Deployment:
    return Deployment(Metadata.model_construct(name=name, version=version), 1)


def test_a_file_that_cannot_be_written_leaves_nothing_deployed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def enter(*given: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(deploying, "enter", enter)
    place = placed(monkeypatch, tmp_path, tmp_path / "routing.yaml")
    with pytest.raises(PermissionError):
        deploy(place, deployment("churn", "v3"), print)
    assert not folder_of(tmp_path, "churn", "v3").exists()


def test_versions_whose_folders_would_have_one_name_are_not_mixed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(deploying, "enter", lambda *given: None)
    place = placed(monkeypatch, tmp_path, tmp_path / "routing.yaml")
    deploy(place, deployment("a-b", "c"), print)
    with pytest.raises(DeployError, match="a-b-c is deployed already, of a-b@c"):
        deploy(place, deployment("a", "b-c"), print)
    wanted = read_wanted(folder_of(tmp_path, "a-b", "c"))
    assert wanted is not None and (wanted.name, wanted.version, wanted.replicas) == ("a-b", "c", 1)
    with pytest.raises(DeployError, match="a-b-c is not deployed on this machine"):
        undeploy(place, Metadata.model_construct(name="a", version="b-c"), force=True)
    assert read_wanted(folder_of(tmp_path, "a-b", "c")) == wanted


def test_what_is_deployed_again_while_it_is_undeployed_stays(tmp_path: Path):
    folder = folder_of(tmp_path, "churn", "v3")
    first = change_wanted(folder, lambda now: Wanted(name="churn", version="v3", replicas=0))
    again = change_wanted(folder, lambda now: now and now.model_copy(update={"replicas": 1}))
    assert first is not None and again is not None
    assert not forget(folder, first.number)
    assert read_wanted(folder) == again
    assert forget(folder, again.number)
    assert not folder.exists()
    assert ensure_supervisor(folder) is False  # of `supervise`, which has listed it just before


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
