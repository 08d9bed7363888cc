"""Where the things that a container knows by name are on this machine.

Rule: `translate` is the only place in which the local run differs from the one in containers.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtests.ports import free_ports
from tests.deploy.project import ROOT, Service


@dataclass(frozen=True)
class Places:
    """`ports` from (service, container port) to a free one here, `paths` from container path to path here."""

    ports: Mapping[tuple[str, int], int]
    paths: Mapping[str, str]


def translate(text: str, service: str, places: Places) -> str:
    """A text of this service's command, environment or healthcheck, as it has to read on this machine.

    1. `SERVICE:PORT` is the free loopback port that stands for that port of that service.
    2. `0.0.0.0:PORT`, `127.0.0.1:PORT`, `localhost:PORT`, and a text that is nothing but a port, are the
       service's own port; a text that is nothing but `0.0.0.0` is the loopback address.
    3. A path, up to a whole component, is where `places.paths` has it; the longest wins.
    4. `$PATH` is the programs beside this Python, then this machine's.
    Everything else stays as it is, so a name or a path that is not of this project fails as it would there.
    """
    if text == "0.0.0.0":
        return "127.0.0.1"
    if text.isdecimal():
        return str(places.ports.get((service, int(text)), text))

    def address(match: re.Match[str]) -> str:
        host, port = match[1], int(match[2])
        owner = service if host in {"0.0.0.0", "127.0.0.1", "localhost"} else host
        here = places.ports.get((owner, port))
        return match[0] if here is None else f"127.0.0.1:{here}"

    text = re.sub(r"(?<![\w.-])([\w.-]+):(\d+)\b", address, text)
    if places.paths:
        longest_first = sorted(places.paths, key=len, reverse=True)
        path = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, longest_first))})(?![\w.-])")
        text = path.sub(lambda match: places.paths[match[1]], text)
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return text.replace("$PATH", here)


def find_places(services: Iterable[Service], secrets: Mapping[str, str], scratch: Path) -> Places:
    """Free ports for all, folders under `scratch` for volumes and images' own folders, secrets as files."""
    services = list(services)
    wanted = [(service.name, port) for service in services for port in service.ports]
    paths: dict[str, str] = {}
    for service in services:
        for target, source in service.volumes.items():
            paths[target] = str(ROOT / source) if source.startswith(".") else folder(scratch, target)
        for stage in service.stages:
            for line in stage.all("RUN"):
                if made := re.search(r"python -m venv (\S+)", line):
                    paths[made[1]] = sys.prefix
            for line in stage.all("COPY"):
                if copied := re.fullmatch(r"--from=\S+ (\S+) \1", line):
                    paths.setdefault(copied[1], folder(scratch, copied[1]))
    for name, value in secrets.items():
        file = scratch / "secrets" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(value)
        paths[f"/run/secrets/{name}"] = str(file)
    return Places(dict(zip(wanted, free_ports(len(wanted)), strict=True)), paths)


def folder(scratch: Path, container_path: str) -> str:
    made = scratch / container_path.strip("/").replace("/", "-")
    made.mkdir(exist_ok=True)
    return str(made)
