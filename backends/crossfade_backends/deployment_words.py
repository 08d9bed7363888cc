"""The words of `python -m crossfade_backends.models` for what runs: deploy, undeploy, scale, info, supervise."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from crossfade_backends import kubernetes_words
from crossfade_backends.admin_client import AdminClient
from crossfade_backends.autoscale import Target
from crossfade_backends.deploying import (
    DeployError,
    Deployment,
    Place,
    deploy,
    information,
    preview,
    scale,
    undeploy,
)
from crossfade_backends.deployments import TOKEN, all_folders, ensure_supervisor
from crossfade_backends.kubernetes_words import add_image, add_options, cluster_of
from crossfade_backends.routing_file import EditError, values
from crossfade_backends.stages import named_version

STRATEGIES = ("canary", "blue_green", "shadow", "champion_challenger", "ab_test", "none")
_AGAIN = 1.0  # seconds between two looks at the supervisors


class Add(Protocol):
    def __call__(
        self, name: str, what: str, run: Callable[[argparse.Namespace], None], /
    ) -> argparse.ArgumentParser: ...


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell."""
    lines = [head, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _place(options: argparse.Namespace) -> Place:
    client = AdminClient(options.admin, os.environ.get(TOKEN, ""))
    return Place(options.registry, client, getattr(options, "config", None), options.timeout)


def _say(text: str) -> None:
    print(text, flush=True)


def _target(options: argparse.Namespace) -> Target | None:
    """None without a target. Raises DeployError for one that cannot be followed."""
    if options.in_flight is None and options.p99 is None:
        return None
    try:
        return Target(
            options.least,
            options.most,
            options.in_flight,
            None if options.p99 is None else options.p99 / 1000,
            options.up_after,
            options.down_after,
            options.cool_down,
        )
    except ValueError as error:
        raise DeployError(str(error)) from None


def _deploy(options: argparse.Namespace) -> None:
    metadata, target = named_version(options.registry, options.which), _target(options)
    strategy = "" if options.strategy == "none" else options.strategy
    replicas = options.replicas or 1
    if target is not None:
        replicas = min(max(replicas, target.least), target.most)
    given = Deployment(metadata, replicas, strategy, options.route, options.rollout, target, options.host)
    if options.dry_run:
        if options.to == "kubernetes":
            raise DeployError("--dry-run is for this machine; on Kubernetes nothing is done without --apply")
        print(preview(_place(options), given), end="")
    elif options.to == "kubernetes":
        kubernetes_words.deploy(_place(options), given, cluster_of(options), _say)
    else:
        deploy(_place(options), given, _say)


def _undeploy(options: argparse.Namespace) -> None:
    metadata = named_version(options.registry, options.which)
    if options.to == "kubernetes":
        _say(
            kubernetes_words.undeploy(_place(options), metadata, cluster_of(options), options.force).rstrip()
        )
    else:
        undeploy(_place(options), metadata, options.force)
    _say(f"{metadata.name}@{metadata.version} is undeployed")


def _scale(options: argparse.Namespace) -> None:
    metadata, target = named_version(options.registry, options.which), _target(options)
    if (options.replicas is None) == (target is None):
        raise DeployError(
            "scale to --replicas N, or by a target: --in-flight or --p99, with --least and --most"
        )
    if options.to == "kubernetes":
        there = cluster_of(options)
        _say(kubernetes_words.scale(_place(options), metadata, options.replicas, target, there).rstrip())
        return
    seen = scale(_place(options), metadata, options.replicas, target)
    _say(f"{metadata.name}@{metadata.version}: {len(seen.replicas)} replicas")


def _info(options: argparse.Namespace) -> None:
    found = information(options.registry, os.environ.get(TOKEN, ""))
    if options.which:
        metadata = named_version(options.registry, options.which)
        found = [each for each in found if each["version"] == f"{metadata.name}@{metadata.version}"]
    _say(json.dumps(found) if options.json else "\n\n".join(map(_as_text, found)) or "nothing is deployed")


def _as_text(one: dict[str, Any]) -> str:
    lines = [
        f"{one['backend']}: {one['version']}, {one['wanted']} replicas wanted; its supervisor {one['supervisor']}"
    ]
    lines += [f"  {key}: {one[key]}" for key in ("target", "note", "scaled") if one[key]]
    if traffic := one["traffic"]:
        for route, numbers in traffic["routes"].items():
            lines.append(
                f"  route {route}: {numbers['share']:.2%} of the requests, {numbers['requests']} so far"
            )
        lines.append(f"  in flight: {traffic['in_flight']}")
    rows = [
        [str(each[key]) for key in ("id", "state", "url", "pid", "restarts", "note")]
        for each in one["replicas"]
    ]
    rows_text = table(("replica", "state", "url", "process", "restarts", ""), rows)
    return "\n".join([*lines, *(f"  {line}" for line in rows_text.splitlines())])


def _supervise(options: argparse.Namespace) -> None:
    """Until it is stopped. The supervisors themselves outlive it."""
    while True:
        for folder in all_folders(options.registry):
            if ensure_supervisor(folder):
                _say(f"{folder.name}: a supervisor is started")
        if options.once:
            return
        time.sleep(_AGAIN)


def _rollout(text: str) -> dict[str, Any]:
    try:
        found = values(text)
    except EditError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no mapping, as {{min_requests: 500}}")
    return found


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


def add_words(add: Add) -> None:
    word = add("deploy", "start replicas, give them to the proxy, and begin a rollout", _deploy)
    _add_place(word)
    word.add_argument("--replicas", type=_count, metavar="N", help="how many (default: 1)")
    word.add_argument(
        "--strategy", choices=STRATEGIES, default="canary", help="none: no rollout (default: canary)"
    )
    word.add_argument("--route", default="", help="default: the one called like the model, or the only one")
    word.add_argument(
        "--rollout", type=_rollout, default={}, metavar="YAML", help="more keys, as '{min_requests: 500}'"
    )
    word.add_argument(
        "--host", default="127.0.0.1", help="where the replicas listen; ports are the system's choice"
    )
    word.add_argument("--config", type=Path, metavar="FILE", help="default: the file that the proxy runs by")
    word.add_argument(
        "--dry-run", action="store_true", help="print the routing file as it would be, and start nothing"
    )
    _add_target(word)
    add_options(word)
    add_image(word)
    word = add("scale", "add or drain replicas, or follow a target", _scale)
    _add_place(word)
    word.add_argument("--replicas", type=_count, metavar="N", help="a fixed number; ends autoscaling")
    _add_target(word)
    add_options(word)
    word = add("undeploy", "stop the replicas; refused while traffic goes there", _undeploy)
    _add_place(word)
    word.add_argument(
        "--force", action="store_true", help="ask no proxy, and leave the routing file as it is"
    )
    word.add_argument("--config", type=Path, metavar="FILE", help="on Kubernetes: default as for deploy")
    add_options(word)
    word = add("info", "replicas, traffic and versions; starts supervisors that are gone", _info)
    word.add_argument("which", nargs="?", default="", metavar="MODEL@VERSION")
    word = add("supervise", "start supervisors that are gone, as long as this runs", _supervise)
    word.add_argument("--once", action="store_true", help="look once, and end")


def _add_place(word: argparse.ArgumentParser) -> None:
    admin = os.environ.get("CROSSFADE_ADMIN_URL", "http://127.0.0.1:9901")
    word.add_argument("which", metavar="MODEL@VERSION")
    word.add_argument("--admin", default=admin, metavar="URL", help=f"the admin API; its token is in {TOKEN}")
    word.add_argument(
        "--timeout", type=float, default=180.0, metavar="S", help="how long to wait (default: 180)"
    )


def _add_target(word: argparse.ArgumentParser) -> None:
    target = word.add_argument_group("autoscaling", "with --in-flight, --p99 or both")
    numbers: Sequence[tuple[str, float | None, str]] = (
        ("--in-flight", None, "requests in flight for each replica"),
        ("--p99", None, "milliseconds"),
        ("--up-after", 10.0, "seconds of too much load before there are more"),
        ("--down-after", 60.0, "seconds of little load before there are fewer"),
        ("--cool-down", 30.0, "seconds after a change in which there is no other one"),
    )
    target.add_argument("--least", type=_count, default=1, metavar="N")
    target.add_argument("--most", type=_count, default=4, metavar="N")
    for name, default, what in numbers:
        target.add_argument(name, type=float, default=default, metavar="X", help=what)
