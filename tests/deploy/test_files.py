"""Checks of the files of the deployment, without running anything."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.admin.test_metrics import NAMES
from tests.deploy.dashboard import dashboard_files, expressions, filled_in, metric_names, strings_at
from tests.deploy.project import (
    COMPOSE,
    ROOT,
    MissingVariable,
    read_compose,
    read_dockerfile,
    read_service,
    seconds,
)
from tests.deploy.promql import families

DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
PROJECT = read_compose({"CROSSFADE_ADMIN_TOKEN": "x"})
BUILT = sorted(name for name, service in PROJECT["services"].items() if "build" in service)
BY_NAME = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)


def ignored(path: str) -> bool:
    """Whether .dockerignore excludes the path; the last line that matches it or a parent folder decides."""
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    parts = Path(path).parts
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    excluded = False
    for line in lines:
        if any(fnmatch.fnmatch(part, line.removeprefix("!")) for part in above):
            excluded = not line.startswith("!")
    return excluded


@BY_NAME
def test_files_that_dockerfiles_copy_exist_and_are_not_ignored(file: Path) -> None:
    stages = read_dockerfile(file)
    copied = 0
    for stage in stages:
        for line in stage.all("COPY"):
            *sources, _ = line.split()
            if sources[0].startswith("--from="):
                assert sources[0].removeprefix("--from=") in {s.name for s in stages}
                continue
            for source in sources:
                assert (ROOT / source).exists(), f"{file.name} copies {source}"
                assert not ignored(source.rstrip("/")), f".dockerignore excludes {source}"
                copied += 1
    assert copied > 0


def test_the_wheel_includes_all_files_that_are_not_python() -> None:
    """The images have only the wheel, not the source tree."""
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for root, package in (("proxy", "crossfade"), ("backends", "crossfade_backends")):
        folder = ROOT / root / package
        listed = {file for pattern in written[package] for file in folder.glob(pattern)}
        for file in folder.rglob("*"):
            if file.is_file() and file.suffix not in {".py", ".pyc", ".md"}:
                assert file in listed, f"package-data of {package} lacks {file.relative_to(folder)}"


@BY_NAME
def test_final_images_have_no_build_step_and_do_not_run_as_root(file: Path) -> None:
    stages = read_dockerfile(file)
    assert len(stages) > 1
    assert not any("pip" in line for line in stages[-1].all("RUN"))
    assert {stage.base for stage in stages} - {stage.name for stage in stages} == {"python:3.13-slim"}
    assert [int(user) > 0 for user in stages[-1].all("USER")] == [True]


@pytest.mark.parametrize("name", BUILT)
def test_the_healthcheck_of_compose_equals_that_of_the_image(name: str) -> None:
    service = read_service(PROJECT, name)
    assert service.healthcheck == ["CMD", *service.stages[-1].exec_form("HEALTHCHECK")]


def test_the_project_has_the_documented_services() -> None:
    assert set(PROJECT["services"]) == {
        *("proxy", "churn-v2", "churn-v3", "churn-v4"),
        *("prometheus", "grafana", "locust"),
    }
    assert BUILT == ["churn-v2", "churn-v3", "churn-v4", "proxy"]
    assert PROJECT["services"]["locust"]["profiles"] == ["load"]
    assert len({PROJECT["services"][name]["image"] for name in BUILT}) == 2


def test_the_error_without_a_token_says_how_to_set_it() -> None:
    with pytest.raises(MissingVariable, match=r"CROSSFADE_ADMIN_TOKEN must be set .*\.env"):
        read_compose({})


def test_the_compose_file_contains_no_secret() -> None:
    for service in yaml.safe_load(COMPOSE.read_text())["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("TOKEN|PASSWORD|SECRET|KEY", name):
                assert str(value).startswith("${"), name


def test_ports_are_published_only_on_loopback() -> None:
    ports = [port for service in PROJECT["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_grace_period_of_the_proxy_is_longer_than_its_drain() -> None:
    drain = yaml.safe_load((ROOT / "config/routing.yaml").read_text())["drain"]
    grace = seconds(PROJECT["services"]["proxy"]["stop_grace_period"])
    assert grace > seconds(drain["delay"]) + seconds(drain["timeout"])


def test_mounted_files_exist() -> None:
    mounts = [v.split(":")[0] for s in PROJECT["services"].values() for v in s.get("volumes", [])]
    local = [mount for mount in mounts if mount.startswith(".")]
    assert local and all((ROOT / mount).is_dir() for mount in local)
    assert {mount for mount in mounts if not mount.startswith(".")} == set(PROJECT["volumes"])


def test_prometheus_and_grafana_use_the_names_of_the_services() -> None:
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = [t for job in scrape for c in job["static_configs"] for t in c["targets"]]
    assert {target.partition(":")[0] for target in targets} == set(BUILT)
    assert (
        scrape[0]["authorization"]["credentials_file"]
        == f"/run/secrets/{PROJECT['services']['prometheus']['secrets'][0]}"
    )
    sources = yaml.safe_load((ROOT / "deploy/grafana/datasources/prometheus.yml").read_text())["datasources"]
    assert [source["url"] for source in sources] == ["http://prometheus:9090"]
    provider = yaml.safe_load((ROOT / "deploy/grafana/dashboards/provider.yml").read_text())["providers"][0]
    mounts = [v.split(":")[1] for v in PROJECT["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts


@pytest.mark.parametrize("file", dashboard_files(), ids=lambda file: file.name)
def test_dashboards_are_consistent(file: Path) -> None:
    dashboard = json.loads(file.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["targets"] and panel["description"], panel["title"]
    known = {f"${variable['name']}" for variable in dashboard["templating"]["list"]}
    for expression in strings_at(dashboard, "expr"):
        assert set(re.findall(r"\$[a-z]\w*", expression)) <= known, expression
        assert metric_names(filled_in(expression)), expression
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("crossfade_ledger_version", {"crossfade_ledger_version"}),
        ('sum by (backend) (rate(a_total{code=~"5..", b="x by (c)"}[1m]))', {"a_total"}),
        ("(a or 0 * b) / on (route) group_left (x) sum by (route) (c:d)", {"a", "b", "c:d"}),
        ("histogram_quantile(0.99, sum by (le) (rate(h_bucket[1m])))", {"h_bucket"}),
        ("time() - t_seconds", {"t_seconds"}),
    ],
)
def test_metric_names_of_an_expression(expression: str, names: set[str]) -> None:
    assert metric_names(expression) == names


@pytest.mark.parametrize("file", dashboard_files(), ids=lambda file: file.name)
def test_dashboards_ask_for_metrics_that_the_proxy_has(file: Path) -> None:
    for expression in expressions(file):
        assert families(expression) <= NAMES, expression


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on the PATH")
@pytest.mark.parametrize("file", dashboard_files(), ids=lambda file: file.name)
def test_promtool_parses_every_expression(file: Path, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(expressions(file))]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": file.stem, "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
