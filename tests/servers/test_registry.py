"""A real MLflow server as the registry: a promote moves the alias, a rollback moves it back, and a new version is the next rollout."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crossfade.config.registry import RegisteredVersion, RegistryConfig
from crossfade.control.registries import Found, MlflowRegistry, RegistryError
from crossfade_backends.mlflow_registry import MlflowError, register
from crossfade_backends.registry import Metadata, Metrics
from loadtests.ports import free_port
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until
from tests.servers.environments import serving

pytestmark = pytest.mark.timeout(900)


class Mlflow:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if method != "GET" else None
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{path}",
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def register(self, model: str, *, alias: str = "", **tags: str) -> str:
        tagged = [{"key": key, "value": value} for key, value in tags.items()]
        made = self.ask("POST", "model-versions/create", name=model, source="s3://models/churn", tags=tagged)
        number = str(made["model_version"]["version"])
        if alias:
            self.alias(model, alias, number)
        return number

    def alias(self, model: str, alias: str, version: str) -> None:
        self.ask("POST", "registered-models/alias", name=model, alias=alias, version=version)

    def aliases(self, model: str) -> dict[str, str]:
        found = self.ask("GET", f"registered-models/get?name={model}")["registered_model"]
        return {each["alias"]: each["version"] for each in found.get("aliases", [])}


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    folder = tmp_path_factory.mktemp("registry")
    port = free_port()
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", str(folder)]
    with serving("registry", [*command, *store], f"http://127.0.0.1:{port}/health", folder):
        yield Mlflow(port)


async def test_aliases_are_read_and_moved(mlflow: Mlflow) -> None:
    mlflow.ask("POST", "registered-models/create", name="plain")
    first, second = mlflow.register("plain"), mlflow.register("plain", endpoint="http://two:1")
    registry = MlflowRegistry(RegistryConfig(kind="mlflow", uri=mlflow.url))
    try:
        assert await registry.by_alias("plain", "challenger") is None
        assert await registry.by_alias("nothing", "challenger") is None
        mlflow.alias("plain", "challenger", second)
        assert await registry.by_alias("plain", "challenger") == Found("plain", second, "http://two:1")
        assert await registry.put_in_charge(RegisteredVersion("plain", first))
        assert mlflow.aliases("plain") == {"champion": first, "challenger": second}
        assert await registry.put_in_charge(RegisteredVersion("plain", second))
        assert mlflow.aliases("plain") == {"champion": second}
        assert not await registry.put_in_charge(RegisteredVersion("plain", second))
        with pytest.raises(RegistryError, match="MLflow answered 4"):
            await registry.put_in_charge(RegisteredVersion("plain", "99"))
    finally:
        await registry.close()


def test_the_pipeline_registers_a_version_once_and_as_the_challenger(mlflow: Mlflow) -> None:
    metadata = Metadata(
        name="piped",
        version="r1",
        framework="scikit-learn",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        features=("a",),
        parameters={},
        metrics=Metrics(auc=0.8, log_loss=0.4, brier=0.1, accuracy=0.9, n=10),
        training_data_sha256="",
        model_sha256="",
        stage="none",
        tags={"order": "1", "endpoint": "http://piped:1"},
    )
    number = register(mlflow.url, metadata)
    assert mlflow.aliases("piped") == {}
    assert register(mlflow.url, metadata.model_copy(update={"stage": "staging"})) == number
    assert mlflow.aliases("piped") == {"challenger": number}
    other = metadata.model_copy(update={"version": "r2", "tags": {"order": "2"}, "stage": "staging"})
    assert int(register(mlflow.url, other)) == int(number) + 1
    assert mlflow.aliases("piped") == {"challenger": f"{int(number) + 1}"}
    found = mlflow.ask("GET", f"model-versions/get?name=piped&version={number}")["model_version"]
    tags = {each["key"]: each["value"] for each in found["tags"]}
    assert (tags["endpoint"], tags["version"], tags["log_loss"]) == ("http://piped:1", "r1", "0.4")
    with pytest.raises(MlflowError, match="MLflow cannot be reached"):
        register("http://127.0.0.1:1", metadata)


async def test_a_registered_version_is_rolled_out_promoted_and_rolled_back(
    tmp_path: Path, mlflow: Mlflow
) -> None:
    mlflow.ask("POST", "registered-models/create", name="churn")
    one = mlflow.register("churn")
    models = [Model("one"), Model("two"), Model("three")]
    proxy = Proxy(
        tmp_path,
        f"registry: {{kind: mlflow, uri: '{mlflow.url}', interval: 200ms}}\n"
        f"backends:\n  churn-v2:\n    endpoints: [http://127.0.0.1:{models[0].port}]\n"
        f"    registry: churn/{one}\n    health: {{interval: 200ms}}\n"
        "routes:\n  - name: churn\n    match: {path: /predict}\n    retry: {pure: true}\n"
        "    split: {churn-v2: 100%}\n    rollout:\n      strategy: canary\n      champion: churn-v2\n"
        "      challenger: {registry: churn@challenger}\n      steps: [{weight: 20%, hold: 0s}]\n"
        "      min_requests: 20\n      watch: 1h\n      checks: [{metric: error_rate, max: 50%}]\n",
    )
    async with running(*models, proxy):
        await wait_until(lambda: mlflow.aliases("churn") == {"champion": one}, "the first champion is known")
        two = mlflow.register("churn", alias="challenger", endpoint=f"http://127.0.0.1:{models[1].port}")
        async with Load(proxy.url, clients=4):

            async def phase_is(phase: str) -> bool:
                found = (await proxy.get("/api/v1/status"))["rollouts"]
                return [(r["challenger"], r["phase"]) for r in found] == [(f"churn-{two}", phase)]

            await wait_until(lambda: phase_is("promoted"), lambda: f"it is promoted: {proxy.output[-3000:]}")
        await wait_until(lambda: mlflow.aliases("churn") == {"champion": two}, "the alias is moved")
        code, answer = await proxy.call("POST", "/api/v1/rollouts/churn/rollback")
        assert code == 200, answer
        await wait_until(lambda: mlflow.aliases("churn") == {"champion": one}, "the alias is moved back")
        three = mlflow.register("churn", alias="challenger", endpoint=f"http://127.0.0.1:{models[2].port}")

        async def next_one() -> bool:
            found = (await proxy.get("/api/v1/status"))["rollouts"]
            return [r["challenger"] for r in found] == [f"churn-{three}"]

        await wait_until(next_one, lambda: f"another version is the next rollout: {proxy.output[-3000:]}")
        decisions = (await proxy.get("/api/v1/decisions?limit=1000"))["decisions"]
        moved = [d["to"]["version"] for d in decisions if d["action"] == "alias"]
        assert moved == [f"churn/{one}", f"churn/{two}", f"churn/{one}"]
