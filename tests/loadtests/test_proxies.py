from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtests.bench import start_all
from loadtests.client import requests_of
from loadtests.equivalence import problems_of
from loadtests.measure import start_origins
from loadtests.proxies import MAKERS, crossfade, is_present
from loadtests.work import EVENTS, Cores, work_named

ORIGINS = {"a": 40001, "b": 40002, "c": 40003}


@pytest.mark.parametrize("name", ["crossfade", "nginx", "haproxy", "envoy", "caddy"])
def test_each_program_accepts_its_configuration(name: str, tmp_path: Path) -> None:
    if not is_present(name):
        pytest.skip(f"{name} is not installed")
    proxy = MAKERS[name](tmp_path, ORIGINS)
    done = subprocess.run(proxy.check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert proxy.version[0].isdigit()


@pytest.mark.parametrize("name", MAKERS)
def test_every_configuration_has_the_ports(name: str, tmp_path: Path) -> None:
    proxy = MAKERS[name](tmp_path, ORIGINS)
    written = " ".join([*proxy.argv, *(f.read_text() for f in tmp_path.iterdir())])
    for port in (proxy.port, ORIGINS["a"], ORIGINS["b"]):
        assert str(port) in written


def test_crossfade_has_one_worker_and_default_settings(tmp_path: Path) -> None:
    MAKERS["crossfade"](tmp_path, ORIGINS)
    written = yaml.safe_load((tmp_path / "bench.yaml").read_text())
    assert written["workers"] == 1
    assert set(written) == {"listen", "admin", "workers", "state", "backends", "routes"}
    assert all(set(backend) == {"endpoints"} for backend in written["backends"].values())


@pytest.mark.parametrize(
    "options", [{"mirrored": True}, {"sticky": "json: customer_id"}, {"workers": 2}], ids=str
)
def test_crossfade_accepts_the_configurations_of_the_comparisons(
    options: dict[str, Any], tmp_path: Path
) -> None:
    proxy = crossfade(tmp_path, ORIGINS, **options)
    done = subprocess.run(proxy.check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name in MAKERS if is_present(name)])
def test_each_proxy_does_the_work_and_does_not_buffer_events(name: str, tmp_path: Path) -> None:
    """`start_all` checks the work. The first event of a stream arrives long before the last."""
    with ExitStack() as stack:
        cores = Cores(frozenset(), frozenset())
        origins = start_origins(cores, tmp_path, stack)
        _, (target,) = start_all([name], origins, cores, tmp_path, stack)
        with socket.create_connection(("127.0.0.1", target.port)) as client:
            client.settimeout(10)
            client.sendall(requests_of(work_named("sse"), target.port)[0])
            received = b""
            while b"data:" not in received:
                received += client.recv(65536)
            assert received.count(b"data:") < EVENTS / 2
            while not received.endswith(b"0\r\n\r\n"):
                received += client.recv(65536)
            assert received.count(b"data:") == EVENTS


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (["a"] * 900 + ["b"] * 100, ["a"] * 900 + ["b"] * 100, None),
        (["a"] * 900 + ["b"] * 100, ["a"] * 899 + ["b"] * 101, "1 of 1000 customers changed their origin"),
        (["a"] * 1000, ["a"] * 1000, "0 customers have origin b"),
        (["a"] * 500 + ["b"] * 500, ["a"] * 500 + ["b"] * 500, "500 customers have origin b"),
        (["a"] * 899 + ["b"] * 100 + ["c"], ["a"] * 899 + ["b"] * 100 + ["c"], "answered by c"),
    ],
)
def test_a_proxy_that_does_other_work_is_detected(
    first: list[str], second: list[str], problem: str | None
) -> None:
    problems = problems_of(first, second)
    assert (problems == []) if problem is None else any(problem in each for each in problems)
