"""A version on Kubernetes: the same words as a Deployment, a headless Service and a HorizontalPodAutoscaler.

Rule: the Service has no address of its own. Its name has the address of each replica, and the proxy takes each for an endpoint, so
it balances, probes and ejects them as on one machine, and scaling needs no edit of the routing file.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from crossfade_backends.autoscale import Target

PORT = 8000
LONGEST = 63  # characters of a label's value
USER = 10002  # of deploy/backends.Dockerfile
# A replica that ends is still in the name for a while: longer than the proxy's `resolve` (10 s) and the time that DNS keeps it.
_LEAVES_AFTER = 20
_NAME = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]")
_GRACE = 60  # seconds until KILL, those included


class KubernetesError(Exception):
    """What kubectl says, or what Kubernetes would refuse."""


@dataclass(frozen=True, slots=True)
class OnKubernetes:
    """`claim`: a PersistentVolumeClaim with the registry; "" where the image has it, at /models. `target`: replicas by an autoscaler."""

    name: str
    version: str
    image: str
    replicas: int = 1
    namespace: str = "default"
    claim: str = ""
    target: Target | None = None

    @property
    def called(self) -> str:
        """A name that Kubernetes takes: a letter, then lower case letters, digits and dashes. No two versions have the same."""
        whole = f"{self.name}-{self.version}"
        # `a-b` with the version `c` and `a` with `b-c` would be one.
        if _NAME.fullmatch(whole) and "-" not in self.name:
            return whole
        mark = hashlib.sha256(f"{self.name}/{self.version}".encode()).hexdigest()[:8]
        return f"m-{re.sub('[^a-z0-9]+', '-', whole.lower())[:50].strip('-')}-{mark}"

    @property
    def url(self) -> str:
        return f"http://{self.called}.{self.namespace}.svc:{PORT}"


def manifests(given: OnKubernetes) -> list[dict[str, Any]]:
    """Raises KubernetesError."""
    found = [_deployment(given), _service(given)]
    return found if given.target is None else [*found, _autoscaler(given, given.target)]


def as_yaml(objects: Iterable[dict[str, Any]]) -> str:
    return "---\n".join(yaml.safe_dump(each, sort_keys=False) for each in objects)


def _object(given: OnKubernetes, version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": given.called, "namespace": given.namespace, "labels": _labels(given)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _labels(given: OnKubernetes) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": given.name[:LONGEST].rstrip("._-"),
        "app.kubernetes.io/instance": given.called,
        "app.kubernetes.io/version": given.version[:LONGEST].rstrip("._-"),
    }


def _selector(given: OnKubernetes) -> dict[str, str]:
    return {"app.kubernetes.io/instance": given.called}


def _deployment(given: OnKubernetes) -> dict[str, Any]:
    spec: dict[str, Any] = {
        # An autoscaler owns the number: a number here would undo what it did, at each apply.
        **({} if given.target else {"replicas": given.replicas}),
        "selector": {"matchLabels": _selector(given)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": _labels(given)}, "spec": _pod(given)},
    }
    return _object(given, "apps/v1", "Deployment", spec)


def _pod(given: OnKubernetes) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "terminationGracePeriodSeconds": _GRACE,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(given)],
    }
    if given.claim:
        claim = {"claimName": given.claim, "readOnly": True}
        pod["volumes"] = [{"name": "registry", "persistentVolumeClaim": claim}]
    return pod


def _container(given: OnKubernetes) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "model",
        "image": given.image,
        "env": [
            {"name": "CROSSFADE_MODEL_NAME", "value": given.name},
            {"name": "CROSSFADE_MODEL_VERSION", "value": given.version},
        ],
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": _probe("/health", 2, 60),
        "readinessProbe": _probe("/health", 2, 2),
        "livenessProbe": _probe("/live", 10, 3),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_LEAVES_AFTER)]}}},
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if given.claim:
        container["volumeMounts"] = [{"name": "registry", "mountPath": "/models", "readOnly": True}]
    return container


def _probe(path: str, period: int, failures: int) -> dict[str, Any]:
    probe = {"httpGet": {"path": path, "port": "http"}, "periodSeconds": period, "failureThreshold": failures}
    return probe | {"timeoutSeconds": 2}


def _service(given: OnKubernetes) -> dict[str, Any]:
    ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
    return _object(
        given, "v1", "Service", {"clusterIP": "None", "selector": _selector(given), "ports": ports}
    )


def _autoscaler(given: OnKubernetes, target: Target) -> dict[str, Any]:
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": given.called},
        "minReplicas": target.least,
        "maxReplicas": target.most,
        "metrics": _metrics(given, target),
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": round(target.up_after)},
            "scaleDown": {"stabilizationWindowSeconds": round(target.down_after)},
        },
    }
    return _object(given, "autoscaling/v2", "HorizontalPodAutoscaler", spec)


def _metrics(given: OnKubernetes, target: Target) -> list[dict[str, Any]]:
    """Of the proxy, as an adapter for Prometheus gives them to Kubernetes. The larger number of replicas wins. Raises KubernetesError."""
    found = []
    if target.in_flight is not None:
        found.append(
            ("crossfade_in_flight", {"type": "AverageValue", "averageValue": _quantity(target.in_flight)})
        )
    if target.p99 is not None:
        found.append(("crossfade_p99_seconds", {"type": "Value", "value": _quantity(target.p99)}))
    backend = f"{given.name}-{given.version}"
    if len(backend) > LONGEST:
        raise KubernetesError(
            f"Kubernetes selects metrics by names of at most {LONGEST} characters, and {backend} has {len(backend)}: give --replicas"
        )
    selector = {"matchLabels": {"backend": backend}}
    return [
        {"type": "External", "external": {"metric": {"name": name, "selector": selector}, "target": wanted}}
        for name, wanted in found
    ]


def _quantity(value: float) -> str:
    """In thousandths, as Kubernetes writes them; at least one."""
    return f"{max(round(value * 1000), 1)}m"


def kubectl(arguments: Sequence[str], given: str = "") -> str:
    """Raises KubernetesError where there is no kubectl, or it fails."""
    program = shutil.which("kubectl")
    if program is None:
        raise KubernetesError("there is no kubectl here; without --apply the objects are printed")
    done = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubernetesError(f"kubectl {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def apply(given: OnKubernetes, timeout: float) -> str:
    """Waits until all replicas are ready. What kubectl said."""
    said = kubectl(["apply", "--filename", "-"], as_yaml(manifests(given)))
    return said + _until_ready(given, timeout)


def _until_ready(given: OnKubernetes, timeout: float) -> str:
    place = ["--namespace", given.namespace, "--timeout", f"{timeout:.0f}s"]
    return kubectl(["rollout", "status", f"deployment/{given.called}", *place])


def set_replicas(given: OnKubernetes, timeout: float) -> str:
    """A fixed number; an autoscaler would change it again, so it goes."""
    place = ["--namespace", given.namespace]
    said = kubectl(["delete", "--ignore-not-found", *place, f"horizontalpodautoscaler/{given.called}"])
    said += kubectl(["scale", *place, "--replicas", str(given.replicas), f"deployment/{given.called}"])
    return said + _until_ready(given, timeout)


def delete(given: OnKubernetes) -> str:
    # The autoscaler too, whether there is one or not: it is not known here how the version was deployed.
    kinds = ("deployment", "service", "horizontalpodautoscaler")
    names = [f"{kind}/{given.called}" for kind in kinds]
    return kubectl(["delete", "--ignore-not-found", "--namespace", given.namespace, *names])
