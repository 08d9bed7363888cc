"""What a version becomes on Kubernetes: objects that its schemas accept, and the calls of kubectl with the proxy's file edited.

The kubectl here is a script that writes down how it was called: there is no cluster.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from crossfade_backends import kubernetes
from crossfade_backends.autoscale import Target
from crossfade_backends.kubernetes import KubernetesError, OnKubernetes, as_yaml, manifests
from crossfade_backends.models import main

TARGET = Target(2, 6, in_flight=8.0, p99=0.2)
PLAIN = OnKubernetes("churn", "v3", "models:1", 3)
FULL = OnKubernetes("churn", "V3.1_x", "models:1", 3, "ml", "registry", TARGET)


def by_kind(given: OnKubernetes) -> dict[str, Any]:
    return {each["kind"]: each for each in manifests(given)}


@pytest.mark.parametrize("given", [PLAIN, FULL], ids=["plain", "full"])
def test_the_objects_are_ones_of_kubernetes(given: OnKubernetes):
    objects = list(yaml.safe_load_all(as_yaml(manifests(given))))
    assert objects == manifests(given)
    for each in objects:
        kubernetes_validate.validate(each, "1.31", strict=True)
        assert each["metadata"]["namespace"] == given.namespace


def test_an_autoscaler_of_a_name_that_no_selector_may_have_is_refused():
    name = "c" * 60
    assert by_kind(OnKubernetes(name, "v3", "models:1", target=TARGET))["HorizontalPodAutoscaler"]
    assert by_kind(OnKubernetes(name, "v31", "models:1"))["Deployment"]
    with pytest.raises(KubernetesError, match=f"at most 63 characters, and {name}-v31 has 64"):
        manifests(OnKubernetes(name, "v31", "models:1", target=TARGET))


def test_the_replicas_are_found_and_probed_and_leave_late():
    found = by_kind(PLAIN)
    assert set(found) == {"Deployment", "Service"}
    pod = found["Deployment"]["spec"]["template"]
    for selector in (
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
    ):
        assert selector.items() <= pod["metadata"]["labels"].items()
    assert found["Deployment"]["spec"]["replicas"] == 3
    assert found["Service"]["spec"]["clusterIP"] == "None"
    [container] = pod["spec"]["containers"]
    assert container["env"][1] == {"name": "CROSSFADE_MODEL_VERSION", "value": "v3"}
    assert (
        container["readinessProbe"]["httpGet"]["path"],
        container["livenessProbe"]["httpGet"]["path"],
    ) == ("/health", "/live")
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert (
        10 < waits < pod["spec"]["terminationGracePeriodSeconds"] - 10
    )  # `resolve`, and the server's own drain


def test_an_autoscaler_owns_the_number_and_follows_the_proxy():
    found = by_kind(FULL)
    assert "replicas" not in found["Deployment"]["spec"]
    spec = found["HorizontalPodAutoscaler"]["spec"]
    assert spec["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"] == FULL.called
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)
    in_flight, p99 = [each["external"] for each in spec["metrics"]]
    assert in_flight["metric"] == {
        "name": "crossfade_in_flight",
        "selector": {"matchLabels": {"backend": "churn-V3.1_x"}},
    }
    assert in_flight["target"] == {"type": "AverageValue", "averageValue": "8000m"}
    assert p99["target"] == {"type": "Value", "value": "200m"}
    assert spec["behavior"]["scaleDown"] == {"stabilizationWindowSeconds": 60}
    assert (
        found["Deployment"]["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
        == "registry"
    )
    assert FULL.url == f"http://{FULL.called}.ml.svc:8000"


def test_each_version_has_a_name_of_its_own_that_kubernetes_takes():
    versions = ["v3", "V3", "v3.1", "v3-1", "v3_1", "v" * 64, "v" * 63 + "w", "3", "v3-", "v3."]
    found = [OnKubernetes("churn", version, "i") for version in versions]
    assert found[0].called == "churn-v3"
    assert len({one.called for one in found}) == len(versions)
    assert OnKubernetes("a-b", "c", "i").called != OnKubernetes("a", "b-c", "i").called
    assert OnKubernetes("3churn", "v3", "i").called.startswith("m-3churn-v3-")
    for one in found:
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", one.called)
        for label in manifests(one)[0]["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", label)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What kubectl was called with, a JSON list a line: arguments and standard input."""
    program, log = tmp_path / "bin" / "kubectl", tmp_path / "calls"
    program.parent.mkdir()
    program.write_text(
        "#!/usr/bin/env python3\nimport json, sys\n"
        f"print(json.dumps([sys.argv[1:], sys.stdin.read()]), file=open({str(log)!r}, 'a'))\n"
        "print('done')\nsys.exit('no cluster' if 'broken' in ' '.join(sys.argv) else 0)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return log


def test_deploy_prints_and_applies_nothing(registry: Path, calls: Path, capsys: pytest.CaptureFixture[str]):
    words = ["deploy", "churn@v3", "--to", "kubernetes", "--replicas", "2", "--registry", str(registry)]
    assert main([*words, "--image", "models:1", "--in-flight", "4"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# For the proxy: churn-v3: {endpoints: [http://churn-v3.default.svc:8000]")
    assert [each["kind"] for each in yaml.safe_load_all(said)] == [
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
    ]
    assert not calls.exists()
    assert main(words) == 1
    assert "--image" in capsys.readouterr().err


def test_scale_is_a_number_or_an_autoscaler(registry: Path, calls: Path, capsys: pytest.CaptureFixture[str]):
    words = ["scale", "churn@v3", "--to", "kubernetes", "--namespace", "ml", "--registry", str(registry)]
    assert main([*words, "--replicas", "4"]) == 1
    assert "give --apply" in capsys.readouterr().err
    assert main([*words, "--in-flight", "4"]) == 0
    [printed] = yaml.safe_load_all(capsys.readouterr().out)
    assert printed["kind"] == "HorizontalPodAutoscaler"
    assert not calls.exists()
    assert main([*words, "--replicas", "4", "--apply"]) == 0
    assert main([*words, "--in-flight", "4", "--apply"]) == 0
    gone, number, waited, applied = [json.loads(line) for line in calls.read_text().splitlines()]
    assert gone[0] == [
        "delete",
        "--ignore-not-found",
        "--namespace",
        "ml",
        "horizontalpodautoscaler/churn-v3",
    ]
    assert number[0] == ["scale", "--namespace", "ml", "--replicas", "4", "deployment/churn-v3"]
    assert waited[0][:3] == ["rollout", "status", "deployment/churn-v3"]
    assert applied[0] == ["apply", "--filename", "-"] and yaml.safe_load(applied[1]) == printed


def test_what_kubectl_says_is_said(
    registry: Path, calls: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    words = ["undeploy", "churn@v3", "--to", "kubernetes", "--registry", str(registry), "--force"]
    assert main(words) == 1
    assert "give --apply" in capsys.readouterr().err
    assert main([*words, "--apply"]) == 0
    [[deleted, _]] = [json.loads(line) for line in calls.read_text().splitlines()]
    assert deleted[-3:] == ["deployment/churn-v3", "service/churn-v3", "horizontalpodautoscaler/churn-v3"]
    assert main([*words, "--apply", "--namespace", "broken"]) == 1
    assert "error: kubectl delete: no cluster" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(calls.parent))
    with pytest.raises(KubernetesError, match="there is no kubectl here"):
        kubernetes.kubectl(["version"])
