"""deploy, scale and undeploy with `--to kubernetes`: the objects, printed, or applied by kubectl with the proxy's file edited."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from crossfade_backends import kubernetes
from crossfade_backends.autoscale import Target
from crossfade_backends.deploying import (
    DeployError,
    Deployment,
    Place,
    backend_of,
    enter,
    entry_of,
    file_of,
    leave,
    say_begun,
)
from crossfade_backends.deployments import Routing, lock_of
from crossfade_backends.kubernetes import OnKubernetes
from crossfade_backends.registry import Metadata

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cluster:
    """`image`: "" only where none is needed. `apply`: by kubectl, and not only printed."""

    namespace: str = "default"
    image: str = ""
    claim: str = ""
    apply: bool = False


def add_options(word: argparse.ArgumentParser) -> None:
    there = word.add_argument_group("Kubernetes", "with --to kubernetes")
    there.add_argument(
        "--to", choices=("machine", "kubernetes"), default="machine", help="default: this machine"
    )
    there.add_argument("--apply", action="store_true", help="by kubectl; without it the objects are printed")
    there.add_argument("--namespace", default="default", metavar="NAME")


def add_image(word: argparse.ArgumentParser) -> None:
    word.add_argument("--image", default="", help="on Kubernetes: of deploy/backends.Dockerfile")
    word.add_argument("--claim", default="", metavar="NAME", help="on Kubernetes: a volume with the registry")


def cluster_of(options: argparse.Namespace) -> Cluster:
    image, claim = getattr(options, "image", ""), getattr(options, "claim", "")
    return Cluster(options.namespace, image, claim, options.apply)


def _placed(cluster: Cluster, metadata: Metadata, replicas: int, target: Target | None) -> OnKubernetes:
    return OnKubernetes(
        metadata.name,
        metadata.version,
        cluster.image,
        replicas,
        cluster.namespace,
        cluster.claim,
        target,
    )


def deploy(place: Place, given: Deployment, cluster: Cluster, say: Say) -> None:
    """Raises what the deploy to a machine does, or KubernetesError."""
    if not cluster.image:
        raise DeployError(
            "name the image of the model servers with --image (made by deploy/backends.Dockerfile)"
        )
    there = _placed(cluster, given.metadata, given.replicas, given.target)
    if not cluster.apply:
        backend = backend_of(given.metadata.name, given.metadata.version)
        say(f"# For the proxy: {backend}: {{endpoints: [{there.url}], health: {{path: /health}}}}")
        say(kubernetes.as_yaml(kubernetes.manifests(there)).rstrip())
        return
    entry = entry_of(place, given)
    say(kubernetes.apply(there, place.timeout).rstrip())
    enter(place, given, entry, [there.url], say)
    say_begun(place, given, entry, say)


def scale(
    place: Place, metadata: Metadata, replicas: int | None, target: Target | None, cluster: Cluster
) -> str:
    """What was done, or the autoscaler. The image and the rest of the Deployment stay as they are."""
    there = _placed(cluster, metadata, replicas or 1, target)
    if target is not None:
        autoscaler = kubernetes.as_yaml(kubernetes.manifests(there)[-1:])
        return kubernetes.kubectl(["apply", "--filename", "-"], autoscaler) if cluster.apply else autoscaler
    if not cluster.apply:
        raise DeployError("a number alone is no object of Kubernetes: give --apply")
    return kubernetes.set_replicas(there, place.timeout)


def undeploy(place: Place, metadata: Metadata, cluster: Cluster, force: bool) -> str:
    """Raises DeployError while traffic may go there; `force` asks no proxy."""
    if not cluster.apply:
        raise DeployError("undeploy on Kubernetes deletes objects: give --apply")
    there = _placed(cluster, metadata, 1, None)
    if not force:
        file = file_of(place, place.client.get("api", "v1", "status"))
        backend = backend_of(metadata.name, metadata.version)
        routing = Routing(admin=place.client.url, file=file, backend=backend)
        leave(place.client, routing, {there.url}, lock_of(place.root))
    return kubernetes.delete(there)
