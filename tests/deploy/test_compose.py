"""The compose project as local processes, with its commands, environments and healthchecks.

The only difference to containers is `places.translate`. One run serves all tests of the module.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPMessage
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.deploy.dashboard import dashboard_files, expressions
from tests.deploy.local_run import environment_of, project_running, run_build_step
from tests.deploy.places import Places, find_places, translate
from tests.deploy.project import ROOT, Service, read_compose, read_service
from tests.deploy.promql import families as families_in

TOKEN = "a-token-of-this-test"
MODELS = ("churn-v2", "churn-v3", "churn-v4")
CUSTOMER = {
    "customer_id": "c-42",
    "nb_transactions_30d": 7,
    "total_amount_30d": 129.5,
    "days_since_last_transaction": 4,
    "support_tickets_90d": 1,
    "subscription_age_days": 400,
}
VARIABLES = {
    "CROSSFADE_ADMIN_TOKEN": TOKEN,
    "LOCUST_RUN_TIME": "4s",
    "LOCUST_USERS": "8",
    "LOCUST_SPAWN_RATE": "8",
}


@dataclass(frozen=True)
class Running:
    services: dict[str, Service]
    places: Places

    def url(self, address: str) -> str:
        """`SERVICE:PORT/path` as a URL on this machine."""
        return translate(f"http://{address}", "", self.places)

    def get(self, address: str, token: str = "") -> str:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with urllib.request.urlopen(
            urllib.request.Request(self.url(address), headers=headers), timeout=10
        ) as answer:
            text: str = answer.read().decode()
            return text

    def wait_until_settled(self) -> None:
        """Waits until the proxy's probes have found all models and the rollout is in its first step."""
        pause, status = threading.Event(), ""
        for _ in range(300):
            status = self.get("proxy:9901/api/v1/status", TOKEN)
            view = json.loads(status)
            up = [endpoint["up"] for backend in view["backends"] for endpoint in backend["endpoints"]]
            if all(up) and all(rollout["weight"] > 0 for rollout in view["rollouts"]):
                return
            pause.wait(0.1)
        raise AssertionError(f"models or rollout not ready: {status}")

    def predict(self, customer: dict[str, object]) -> tuple[dict[str, object], HTTPMessage]:
        request = urllib.request.Request(
            self.url("proxy:8080/predict"),
            data=json.dumps(customer).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer), answer.headers


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Runs the training step of the Dockerfile and the healthchecks of compose; stops within the grace periods."""
    scratch = tmp_path_factory.mktemp("compose")
    written = read_compose(VARIABLES)
    services = {name: read_service(written, name) for name in ("proxy", *MODELS, "locust")}
    secrets = {name: VARIABLES[spec["environment"]] for name, spec in written["secrets"].items()}
    places = find_places(services.values(), secrets, scratch)
    run_build_step(services["churn-v2"], "crossfade_backends.train", places)
    with project_running({name: services[name] for name in (*MODELS, "proxy")}, places, scratch):
        project = Running(services, places)
        project.wait_until_settled()
        yield project


@pytest.mark.parametrize("name", MODELS)
def test_each_model_serves_the_version_of_its_environment(project: Running, name: str) -> None:
    health = project.get(f"{name}:8000/health")
    assert name.removeprefix("churn-") in health


def test_a_prediction_through_the_proxy_names_its_backend(project: Running) -> None:
    answer, headers = project.predict(CUSTOMER)
    assert answer["customer_id"] == "c-42"
    churn = answer["churn_probability"]
    assert isinstance(churn, float) and 0 <= churn <= 1
    assert headers["x-crossfade-backend"] == f"churn-{answer['model_version']}"
    assert headers["x-crossfade-backend"] in MODELS


def test_one_customer_stays_with_one_model(project: Running) -> None:
    for n in range(20):
        customer = {**CUSTOMER, "customer_id": f"c-{n}"}
        assert len({project.predict(customer)[1]["x-crossfade-backend"] for _ in range(3)}) == 1


def test_the_admin_api_requires_the_token(project: Running) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        project.get("proxy:9901/api/v1/status")
    with refused.value:
        assert refused.value.code == 401
    status = json.loads(project.get("proxy:9901/api/v1/status", TOKEN))
    assert {backend["name"] for backend in status["backends"]} == set(MODELS)


def test_every_prometheus_target_serves_metrics(project: Running) -> None:
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} == {"crossfade", "models"}
    for job in jobs:
        file = job.get("authorization", {}).get("credentials_file", "")
        token = Path(translate(file, "prometheus", project.places)).read_text() if file else ""
        for target in job["static_configs"][0]["targets"]:
            assert "# TYPE" in project.get(f"{target}{job.get('metrics_path', '/metrics')}", token)


@pytest.mark.parametrize("file", dashboard_files(), ids=lambda file: file.name)
def test_dashboards_use_only_metrics_that_the_proxy_exposes(project: Running, file: Path) -> None:
    project.predict(CUSTOMER)
    lines = project.get("proxy:9901/metrics", TOKEN).splitlines()
    exposed = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    for expression in expressions(file):
        assert families_in(expression) <= exposed, expression


@pytest.mark.skipif(find_spec("locust") is None, reason="locust is not installed (extra: load)")
def test_locust_reports_that_the_laws_hold(project: Running) -> None:
    locust = project.services["locust"]
    done = subprocess.run(
        [translate(word, "locust", project.places) for word in locust.argv],
        env=environment_of(locust, project.places),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "split: held" in done.stdout + done.stderr
    assert "stickiness: held" in done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on the PATH")
def test_promtool_accepts_the_configuration(project: Running, tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(
        translate((ROOT / "deploy/prometheus/prometheus.yml").read_text(), "prometheus", project.places)
    )
    for rules in ("rules.yml", "alerts.yml"):  # prometheus.yml names them
        shutil.copy(ROOT / "deploy/prometheus" / rules, tmp_path)
    done = subprocess.run(["promtool", "check", "config", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_services_do_not_get_the_environment_of_this_machine(project: Running) -> None:
    environment = environment_of(project.services["proxy"], project.places)
    assert "HOME" in os.environ and "HOME" not in environment
    assert environment["CROSSFADE_ADMIN_TOKEN"] == TOKEN
