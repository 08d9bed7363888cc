"""Reads the compose project as a container engine does: with variables replaced and Dockerfiles read.

Rule: no service of this project is named here. Syntax that is not supported raises an error.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
# Documented entry points of images that are not built here.
FOREIGN_ENTRYPOINTS = {"locustio/locust": ["locust"]}

VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


class MissingVariable(Exception):
    """A required variable is not set; the message is the one in the file."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        found = variables.get(match["name"], "")
        if not found and match["kind"] == "?":
            raise MissingVariable(f"{match['name']} {match['rest']}")
        return found or (match["rest"] if match["kind"] == "-" else "")

    return VARIABLE.sub(value, text)


def fill_in(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: fill_in(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [fill_in(item, variables) for item in node]
    return interpolate(node, variables) if isinstance(node, str) else node


def read_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """The compose file with its variables replaced, as compose does it: after parsing, only in values."""
    filled: dict[str, Any] = fill_in(yaml.safe_load(COMPOSE.read_text()), variables)
    return filled


@dataclass
class Stage:
    """One FROM of a Dockerfile and its instructions."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for found, rest in self.instructions if found == word]

    def exec_form(self, word: str) -> list[str]:
        """The last ENTRYPOINT, CMD or HEALTHCHECK in exec form; the shell form raises an error."""
        found = self.all(word)
        if not found:
            return []
        text = found[-1].partition("CMD ")[2] if word == "HEALTHCHECK" else found[-1]
        parsed: list[str] = json.loads(text)
        return parsed

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for line in self.all("ENV") for pair in shlex.split(line))

    @property
    def ports(self) -> list[int]:
        return [int(port) for line in self.all("EXPOSE") for port in line.split()]


def read_dockerfile(path: Path) -> list[Stage]:
    stages: list[Stage] = []
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    for line in filter(None, (part.strip() for part in re.sub(r"\\\n", " ", text).splitlines())):
        word, _, rest = line.partition(" ")
        if word.upper() == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        else:
            stages[-1].instructions.append((word.upper(), rest.strip()))
    return stages


@dataclass(frozen=True)
class Service:
    """The container of a service; `argv` and `environment` include those of the image."""

    name: str
    argv: list[str]
    environment: dict[str, str]
    healthcheck: list[str]
    ports: list[int]
    volumes: dict[str, str]  # container path → source
    stages: list[Stage]
    waits_for: dict[str, bool]  # service → True: must be healthy; False: must be started
    grace: float  # seconds from TERM to KILL


def read_service(project: Mapping[str, Any], name: str) -> Service:
    """Merges compose file and Dockerfile: `command` replaces CMD, and compose overrides the environment."""
    written = project["services"][name]
    stages = read_dockerfile(ROOT / written["build"]["dockerfile"]) if "build" in written else []
    final = stages[-1] if stages else Stage(written["image"], "")
    entrypoint = final.exec_form("ENTRYPOINT") or FOREIGN_ENTRYPOINTS.get(final.base.partition(":")[0], [])
    published = [int(str(port).rpartition(":")[2]) for port in written.get("ports", [])]
    return Service(
        name=name,
        argv=[*entrypoint, *(written.get("command") or final.exec_form("CMD"))],
        environment={**final.environment, **{k: str(v) for k, v in written.get("environment", {}).items()}},
        healthcheck=written.get("healthcheck", {}).get("test", []),
        ports=sorted({*final.ports, *published}),
        volumes={target: source for source, target in (v.split(":")[:2] for v in written.get("volumes", []))},
        stages=stages,
        waits_for=dependencies(written.get("depends_on", {})),
        grace=seconds(written.get("stop_grace_period", "10s")),
    )


def dependencies(written: list[str] | dict[str, dict[str, str]]) -> dict[str, bool]:
    """`depends_on` in its short or long form."""
    if isinstance(written, list):
        return dict.fromkeys(written, False)
    return {name: spec["condition"] == "service_healthy" for name, spec in written.items()}


def start_order(services: Mapping[str, Service]) -> list[str]:
    """Dependencies first; raises CycleError."""
    graph = {name: [d for d in service.waits_for if d in services] for name, service in services.items()}
    return list(TopologicalSorter(graph).static_order())


def seconds(duration: str) -> float:
    """The seconds of a duration such as `40s`, `1m30s` or `500ms`."""
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    parts = re.findall(r"([\d.]+)(ms|h|m|s)", duration)
    assert "".join(n + u for n, u in parts) == duration, f"not a duration: {duration}"
    return sum(float(n) * units[u] for n, u in parts)
