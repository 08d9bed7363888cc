"""What the deployment's files have to be, with nothing running."""

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

from tests.deploy.dashboard import dashboard_files, expressions, metric_names, strings_at
from tests.deploy.project import (
    COMPOSE,
    ROOT,
    MissingVariable,
    read_compose,
    read_dockerfile,
    read_service,
    seconds,
)

DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
PROJECT = read_compose({"CROSSFADE_ADMIN_TOKEN": "x"})
BUILT = sorted(name for name, service in PROJECT["services"].items() if "build" in service)
BY_NAME = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)


def ignored(path: str) -> bool:
    """What the last matching line of .dockerignore says, for this path or a folder above it."""
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    parts = Path(path).parts
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    verdict = False
    for line in lines:
        if any(fnmatch.fnmatch(part, line.removeprefix("!")) for part in above):
            verdict = not line.startswith("!")
    return verdict


@BY_NAME
def test_what_dockerfiles_copy_exists_and_is_sent_to_the_builder(file: Path) -> None:
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
                assert not ignored(source.rstrip("/")), f".dockerignore hides {source}"
                copied += 1
    assert copied > 0


def test_the_wheel_that_the_images_install_has_the_files_that_are_not_code() -> None:
    """The images have no source tree to fall back on."""
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for root, package in (("proxy", "crossfade"), ("backends", "crossfade_backends")):
        folder = ROOT / root / package
        listed = {file for pattern in written[package] for file in folder.glob(pattern)}
        for file in folder.rglob("*"):
            if file.is_file() and file.suffix not in {".py", ".pyc", ".md"}:
                assert file in listed, f"package-data of {package} lacks {file.relative_to(folder)}"


@BY_NAME
def test_images_are_small_and_not_run_by_root(file: Path) -> None:
    stages = read_dockerfile(file)
    assert len(stages) > 1
    assert not any("pip" in line for line in stages[-1].all("RUN"))
    assert {stage.base for stage in stages} - {stage.name for stage in stages} == {"python:3.13-slim"}
    assert [int(user) > 0 for user in stages[-1].all("USER")] == [True]


@pytest.mark.parametrize("name", BUILT)
def test_the_healthcheck_of_compose_is_the_one_of_the_image(name: str) -> None:
    service = read_service(PROJECT, name)
    assert service.healthcheck == ["CMD", *service.stages[-1].exec_form("HEALTHCHECK")]


def test_the_service_list_is_the_one_that_readme_and_dashboards_speak_of() -> None:
    assert set(PROJECT["services"]) == {
        *("proxy", "churn-v2", "churn-v3", "churn-v4"),
        *("prometheus", "grafana", "locust"),
    }
    assert BUILT == ["churn-v2", "churn-v3", "churn-v4", "proxy"]
    assert PROJECT["services"]["locust"]["profiles"] == ["load"]
    assert len({PROJECT["services"][name]["image"] for name in BUILT}) == 2


def test_without_a_token_compose_says_what_to_do() -> None:
    with pytest.raises(MissingVariable, match=r"CROSSFADE_ADMIN_TOKEN must be set .*\.env"):
        read_compose({})


def test_no_secret_is_in_the_file() -> None:
    for service in yaml.safe_load(COMPOSE.read_text())["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("TOKEN|PASSWORD|SECRET|KEY", name):
                assert str(value).startswith("${"), name


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in PROJECT["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_proxy_gets_more_time_to_stop_than_it_takes_to_drain() -> None:
    drain = yaml.safe_load((ROOT / "config/routing.yaml").read_text()).get("drain", "30s")
    assert seconds(PROJECT["services"]["proxy"]["stop_grace_period"]) > seconds(drain)


def test_mounted_files_exist() -> None:
    mounts = [v.split(":")[0] for s in PROJECT["services"].values() for v in s.get("volumes", [])]
    local = [mount for mount in mounts if mount.startswith(".")]
    assert local and all((ROOT / mount).is_dir() for mount in local)
    assert {mount for mount in mounts if not mount.startswith(".")} == set(PROJECT["volumes"])


def test_prometheus_and_grafana_know_the_services_by_their_names() -> None:
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
def test_dashboards_hold_together(file: Path) -> None:
    dashboard = json.loads(file.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["targets"] and panel["description"], panel["title"]
    known = {f"${variable['name']}" for variable in dashboard["templating"]["list"]}
    for expression in strings_at(dashboard, "expr"):
        assert set(re.findall(r"\$[a-z]\w*", expression)) <= known, expression
        assert metric_names(expression), expression
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


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on the PATH")
@pytest.mark.parametrize("file", dashboard_files(), ids=lambda file: file.name)
def test_promtool_parses_every_expression(file: Path, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(expressions(file))]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": file.stem, "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
