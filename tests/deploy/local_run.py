"""Runs services of the compose project as local processes, with the commands and healthchecks of compose."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.places import Places, translate
from tests.deploy.project import Service, start_order

TIMEOUT = 90.0


class Unhealthy(Exception):
    """A service ended, or its healthcheck never passed; the message has its output."""


def environment_of(service: Service, places: Places) -> dict[str, str]:
    """The environment of the container: of this machine only PATH and the locale, so that missing variables show."""
    variables = {"PATH": "$PATH", "LANG": "C.UTF-8", **service.environment}
    return {name: translate(value, service.name, places) for name, value in variables.items()}


def run_in(service: Service, argv: list[str], places: Places) -> subprocess.CompletedProcess[str]:
    """Runs one command in the environment of the service."""
    return subprocess.run(
        [translate(word, service.name, places) for word in argv],
        env=environment_of(service, places),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def run_build_step(service: Service, containing: str, places: Places) -> None:
    """Runs the RUN line of the Dockerfile that contains this text."""
    lines = [line for stage in service.stages for line in stage.all("RUN") if containing in line]
    assert len(lines) == 1, f"{len(lines)} RUN lines contain {containing!r}"
    done = run_in(service, shlex.split(lines[0]), places)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Started:
    """A running service, healthy or not yet; `log` is its output."""

    service: Service
    places: Places
    process: subprocess.Popen[bytes]
    log: Path

    def wait_until_healthy(self) -> None:
        form, *argv = self.service.healthcheck
        assert form == "CMD", f"{self.service.name}: only the exec form is supported, not {form}"
        deadline = time.monotonic() + TIMEOUT
        while (probe := run_in(self.service, argv, self.places)).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Unhealthy(f"{self.service.name}: {probe.stderr}\noutput:\n{self.log.read_text()}")
            time.sleep(0.1)


@contextmanager
def running(service: Service, places: Places, scratch: Path) -> Iterator[Started]:
    """Runs the service during the block. After TERM it must exit with 0 within its grace period."""
    log = scratch / f"{service.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [translate(word, service.name, places) for word in service.argv],
            env=environment_of(service, places),
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Started(service, places, process, log)
        process.terminate()
        code = process.wait(service.grace)
        assert code == 0, f"{service.name} ended with {code}:\n{log.read_text()}"
    finally:
        end_group(process)


@contextmanager
def project_running(services: Mapping[str, Service], places: Places, scratch: Path) -> Iterator[None]:
    """Runs the services during the block, started in the order of `depends_on`; all are healthy."""
    with ExitStack() as stack:
        started: dict[str, Started] = {}
        for name in start_order(services):
            for other, healthy in services[name].waits_for.items():
                if healthy and other in started:
                    started[other].wait_until_healthy()
            started[name] = stack.enter_context(running(services[name], places, scratch))
        for each in started.values():
            each.wait_until_healthy()
        yield


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kills the process and its children that still run."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
