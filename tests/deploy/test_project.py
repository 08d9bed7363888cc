"""Tests of the reading and translation that the compose tests use."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.ports import free_ports
from tests.deploy.places import Places, translate
from tests.deploy.project import (
    MissingVariable,
    dependencies,
    interpolate,
    read_compose,
    read_dockerfile,
    read_service,
    seconds,
    start_order,
)

PLACES = Places(
    ports={("proxy", 8080): 41001, ("proxy", 9901): 41002, ("churn-v2", 8000): 41003},
    paths={"/etc/crossfade": "/repo/config", "/etc": "/other", "/opt/x": "/venv"},
)


@pytest.mark.parametrize(
    ("text", "service", "expected"),
    [
        ("0.0.0.0:8080", "proxy", "127.0.0.1:41001"),
        ("http://127.0.0.1:9901/readyz", "proxy", "http://127.0.0.1:41002/readyz"),
        ("churn-v2:8000", "proxy", "127.0.0.1:41003"),
        ("http://proxy:9901", "locust", "http://127.0.0.1:41002"),
        ("8000", "churn-v2", "41003"),
        ("8000", "proxy", "8000"),
        ("0.0.0.0", "churn-v2", "127.0.0.1"),
        ("churn-v9:8000", "proxy", "churn-v9:8000"),
        ("my-churn-v2:8000", "proxy", "my-churn-v2:8000"),
        ("127.0.0.1:8000", "proxy", "127.0.0.1:8000"),
        ("/etc/crossfade/routing.yaml", "proxy", "/repo/config/routing.yaml"),
        ("sqlite:/etc/crossfade", "proxy", "sqlite:/repo/config"),
        ("/etc/crossfade-2/x", "proxy", "/other/crossfade-2/x"),
        ("/srv/etc/crossfade", "proxy", "/srv/etc/crossfade"),
        ("/opt/x/bin/python", "proxy", "/venv/bin/python"),
        ("v2", "churn-v2", "v2"),
    ],
)
def test_addresses_and_paths_are_translated(text: str, service: str, expected: str) -> None:
    assert translate(text, service, PLACES) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${A}", "a"),
        ("${A:-b}", "a"),
        ("${B:-b}", "b"),
        ("${A:?needed}/x", "a/x"),
        ("$$A", "$A"),
        ("${EMPTY:-b}", "b"),
    ],
)
def test_variables_are_replaced(text: str, expected: str) -> None:
    assert interpolate(text, {"A": "a", "EMPTY": ""}) == expected


def test_an_empty_required_variable_is_an_error() -> None:
    with pytest.raises(MissingVariable, match="A is needed"):
        interpolate("${A:?is needed}", {"A": ""})


def test_a_dockerfile_is_read_as_stages(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        "# a comment\nFROM python AS build\nRUN one \\\n && two\n\nFROM scratch\n"
        'ENV A=1 B="x y"\nEXPOSE 80 81\nHEALTHCHECK --interval=5s \\\n  CMD ["true", "x"]\nENTRYPOINT ["run"]\n'
    )
    build, final = read_dockerfile(file)
    assert (build.base, build.name, build.all("RUN")) == ("python", "build", ["one   && two"])
    assert final.environment == {"A": "1", "B": "x y"}
    assert final.ports == [80, 81]
    assert final.exec_form("HEALTHCHECK") == ["true", "x"]
    assert final.exec_form("ENTRYPOINT") == ["run"]
    assert final.exec_form("CMD") == []


@pytest.mark.parametrize(
    ("written", "waits_for"),
    [
        ({}, {}),
        (["a", "b"], {"a": False, "b": False}),
        (
            {"a": {"condition": "service_healthy"}, "b": {"condition": "service_started"}},
            {"a": True, "b": False},
        ),
    ],
)
def test_both_forms_of_depends_on_are_read(
    written: dict[str, dict[str, str]], waits_for: dict[str, bool]
) -> None:
    assert dependencies(written) == waits_for


def test_the_proxy_starts_after_its_champion() -> None:
    project = read_compose({"CROSSFADE_ADMIN_TOKEN": "x"})
    services = {name: read_service(project, name) for name in ("locust", "proxy", "churn-v2")}
    assert start_order(services) == ["churn-v2", "proxy", "locust"]


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20


@pytest.mark.parametrize(("text", "value"), [("40s", 40), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200)])
def test_durations_are_read_as_seconds(text: str, value: float) -> None:
    assert seconds(text) == value
