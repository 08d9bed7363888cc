"""Configurations that commands write: with comments that say what to change, and valid as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

STEPS = (("1%", "1h"), ("5%", "6h"), ("25%", "24h"), ("50%", "24h"))


class Version(NamedTuple):
    """A backend. `health`: the path of its probes, "" if none is known."""

    name: str
    url: str
    health: str


class Wanted(NamedTuple):
    """`path`: of predictions, "" for every path. `sticky`: as in the file, `json: customer_id`; "" for none."""

    versions: Sequence[Version]
    path: str
    is_prefix: bool
    protocol: str
    sticky: str


def configuration(wanted: Wanted) -> str:
    """One model behind the proxy; with two, the second is tried as a canary."""
    champion, *others = wanted.versions
    lines = [
        "# Written by `crossfade init`. `crossfade check FILE` says what is wrong with it, `crossfade run FILE` serves by it.",
        "# Every key: docs/yaml.md; how to choose a strategy: docs/choosing.md.",
        "",
        "listen: 127.0.0.1:8080                 # 0.0.0.0:8080 for clients on other machines",
        "admin: {listen: 127.0.0.1:9901}        # the dashboard and the API; off loopback it needs a token",
        "state: sqlite:crossfade.db             # how far rollouts have come; keep this file",
        "",
        *_backends(wanted.versions),
        "routes:                                # the first match in file order wins",
        "  - name: model",
        *_match(wanted),
        *_sticky(wanted.sticky),
        f"    split: {{{champion.name}: 100%}}",
    ]
    if others:
        lines.append(
            f"    fallback: {champion.name}            # answers where the new version fails before its first byte"
        )
    lines += _prediction(wanted.protocol)
    if others:
        lines += _rollout(champion, others[0])
    return "\n".join(lines) + "\n"


def _backends(versions: Sequence[Version]) -> list[str]:
    out = ["backends:"]
    for version in versions:
        out += [f"  {version.name}:", f"    endpoints: [{version.url}]"]
        if version.health:
            out.append(f"    health: {{path: {version.health}}}")
        else:
            out.append(
                "    # health: {path: /health}          # without it, an endpoint is up while it accepts connections"
            )
    return [*out, ""]


def _match(wanted: Wanted) -> list[str]:
    if not wanted.path:
        return ["    # match: {path: /predict, methods: [POST]}    # without it the route gets every request"]
    if wanted.is_prefix:
        return [f"    match: {{prefix: {wanted.path}}}"]
    return [f"    match: {{path: {wanted.path}, methods: [POST]}}"]


def _sticky(sticky: str) -> list[str]:
    if not sticky:
        return [
            "    # sticky: {json: customer_id}      # one customer stays with one version; without it each request is drawn"
        ]
    return [f"    sticky: {{{sticky}}}      # one customer stays with one version"]


def _prediction(protocol: str) -> list[str]:
    if protocol:
        return [
            f"    prediction: {{protocol: {protocol}}}     # answers are read, so that checks can compare them"
        ]
    return [
        "    # prediction: {score: probability, decision: 0.5}   # where the answer has its number; then checks can compare answers"
    ]


def _rollout(champion: Version, challenger: Version) -> list[str]:
    out = [
        "    rollout:",
        "      strategy: canary",
        f"      champion: {champion.name}",
        f"      challenger: {challenger.name}",
        "      steps:                           # each lasts for its hold at least, and until every check passes",
    ]
    out += [f"        - {{weight: {weight}, hold: {hold}}}" for weight, hold in STEPS]
    return [
        *out,
        "      min_requests: 100                # on the challenger, in each step",
        "      max_step_time: 96h",
        "      on_undecided: pause              # an operator decides then",
        "      watch: 24h                       # after the promote: a failed check still takes the version back",
        "      checks:",
        "        - {metric: error_rate, max: 1%}",
        "        - {metric: error_rate, max_increase: 0.5%}",
        "        - {metric: latency, quantile: p99, max_ratio: 1.25}",
        "      fuse: {consecutive_errors: 10, error_share: 50%, of_last: 20}",
    ]


def quick_configuration(
    urls: Mapping[str, str], weights: Mapping[str, str], sticky: str, places: tuple[str, str, str]
) -> str:
    """Every request to these backends by these weights. `places`: listen, the admin API's listen, and the state."""
    listen, admin, state = places
    lines = [f"listen: {listen}", f"admin: {{listen: {admin}}}", f"state: sqlite:{state}", "backends:"]
    for name, url in urls.items():
        lines += [f"  {name}:", f"    endpoints: [{url}]"]
    split = ", ".join(f"{name}: {weight}" for name, weight in weights.items())
    lines += ["routes:", "  - name: all", f"    split: {{{split}}}"]
    if sticky:
        lines.append(f"    sticky: {{{sticky}}}")
    return "\n".join(lines) + "\n"
