"""Maps addresses and paths of the containers to addresses and paths on this machine.

Rule: `translate` is the only difference between the local run and the containers.
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
    """`ports`: (service, container port) → local port. `paths`: container path → local path."""

    ports: Mapping[tuple[str, int], int]
    paths: Mapping[str, str]


def translate(text: str, service: str, places: Places) -> str:
    """The text of a command, environment or healthcheck of the service, translated for this machine.

    1. `SERVICE:PORT` becomes the loopback port for that port of that service.
    2. `0.0.0.0:PORT`, `127.0.0.1:PORT`, `localhost:PORT`, and a text that is only a port, become the port of
       the service itself; a text that is only `0.0.0.0` becomes the loopback address.
    3. A path whose first components are in `places.paths` is replaced; the longest match wins.
    4. `$PATH` becomes the folder of this Python, followed by the PATH of this machine.
    Everything else is not changed, so an unknown name or path fails as it would in a container.
    """
    if text == "0.0.0.0":
        return "127.0.0.1"
    if text.isdecimal():
        return str(places.ports.get((service, int(text)), text))

    def address(match: re.Match[str]) -> str:
        host, port = match[1], int(match[2])
        owner = service if host in {"0.0.0.0", "127.0.0.1", "localhost"} else host
        local = places.ports.get((owner, port))
        return match[0] if local is None else f"127.0.0.1:{local}"

    text = re.sub(r"(?<![\w.-])([\w.-]+):(\d+)\b", address, text)
    if places.paths:
        longest_first = sorted(places.paths, key=len, reverse=True)
        path = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, longest_first))})(?![\w.-])")
        text = path.sub(lambda match: places.paths[match[1]], text)
    path_variable = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return text.replace("$PATH", path_variable)


def find_places(services: Iterable[Service], secrets: Mapping[str, str], scratch: Path) -> Places:
    """Free ports for all services; folders under `scratch` for volumes and folders of images; secrets as files."""
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
