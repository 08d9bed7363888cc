"""Registries of models: a folder, and MLflow's REST API as a small fake answers it (tests/servers has the real one)."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crossfade.config.registry import RegisteredVersion, RegistryConfig
from crossfade.control import registries
from crossfade.control.registries import FolderRegistry, Found, MlflowRegistry, RegistryError, registry_of


def write(root: Path, version: str, stage: str, created: str = "2026-01-01T00:00:00Z", **tags: str) -> None:
    folder = root / "churn" / version
    folder.mkdir(parents=True, exist_ok=True)
    content = {"version": version, "stage": stage, "created": created, "tags": tags, "metrics": {"auc": 0.7}}
    (folder / "metadata.json").write_text(json.dumps(content))


def stages(root: Path) -> dict[str, str]:
    found = sorted((root / "churn").glob("*/metadata.json"))
    return {path.parent.name: json.loads(path.read_text())["stage"] for path in found}


async def test_the_newest_version_in_staging_is_the_challenger(tmp_path: Path) -> None:
    registry = registry_of(RegistryConfig(kind="folder", uri=str(tmp_path)))
    write(tmp_path, "v2", "production")
    assert await registry.by_alias("churn", "challenger") is None
    write(tmp_path, "v3", "staging", "2026-01-02T00:00:00Z", endpoint="http://v3:1")
    write(tmp_path, "v1", "staging", "2026-01-01T00:00:00Z")
    write(tmp_path, ".v9", "staging", "2027-01-01T00:00:00Z")
    assert await registry.by_alias("churn", "challenger") == Found("churn", "v3", "http://v3:1")
    assert await registry.by_alias("churn", "champion") == Found("churn", "v2")
    with pytest.raises(RegistryError, match="not canary"):
        await registry.by_alias("churn", "canary")
    with pytest.raises(RegistryError, match="cannot be read: No such file"):
        await registry.by_alias("fraud", "challenger")
    await registry.close()


async def test_another_champion_archives_the_one_before_and_back(tmp_path: Path) -> None:
    registry = FolderRegistry(tmp_path)
    write(tmp_path, "v2", "production")
    write(tmp_path, "v3", "staging")
    assert await registry.put_in_charge(RegisteredVersion("churn", "v3"))
    assert stages(tmp_path) == {"v2": "archived", "v3": "production"}
    assert not await registry.put_in_charge(RegisteredVersion("churn", "v3"))
    assert await registry.put_in_charge(RegisteredVersion("churn", "v2"))
    assert stages(tmp_path) == {"v2": "production", "v3": "archived"}
    kept = json.loads((tmp_path / "churn" / "v2" / "metadata.json").read_text())
    assert kept["metrics"] == {"auc": 0.7}
    with pytest.raises(RegistryError, match=r"v7/metadata\.json cannot be read"):
        await registry.put_in_charge(RegisteredVersion("churn", "v7"))
    assert stages(tmp_path) == {"v2": "production", "v3": "archived"}


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """As a user's command has it while it moves or tags a version."""
    descriptor = os.open(root / "churn", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


async def test_a_promote_waits_for_who_moves_or_tags_a_version(tmp_path: Path) -> None:
    write(tmp_path, "v3", "staging")
    with locked(tmp_path):
        promoting = asyncio.create_task(
            FolderRegistry(tmp_path).put_in_charge(RegisteredVersion("churn", "v3"))
        )
        await asyncio.sleep(0.1)
        assert (promoting.done(), stages(tmp_path)) == (False, {"v3": "staging"})
        write(tmp_path, "v3", "staging", owner="ann")
    assert await promoting
    kept = json.loads((tmp_path / "churn" / "v3" / "metadata.json").read_text())
    assert (kept["stage"], kept["tags"]) == ("production", {"owner": "ann"})


async def test_a_promote_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "TIMEOUT", 0.05)
    write(tmp_path, "v3", "staging")
    with locked(tmp_path), pytest.raises(RegistryError, match="churn is locked by another process"):
        await FolderRegistry(tmp_path).put_in_charge(RegisteredVersion("churn", "v3"))
    assert stages(tmp_path) == {"v3": "staging"}


async def test_a_history_of_stages_is_gone_on_with(tmp_path: Path) -> None:
    write(tmp_path, "v2", "production")
    write(tmp_path, "v3", "staging")
    path = tmp_path / "churn" / "v3" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"history": [{"stage": "staging"}]}))
    await FolderRegistry(tmp_path).put_in_charge(RegisteredVersion("churn", "v3"))
    first, second = json.loads(path.read_text())["history"]
    assert (first, second["stage"], second["by"]) == ({"stage": "staging"}, "production", "crossfade")
    assert "history" not in json.loads((tmp_path / "churn" / "v2" / "metadata.json").read_text())


async def test_a_damaged_version_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "v2", "production")
    (tmp_path / "churn" / "v2" / "metadata.json").write_text("[")
    with pytest.raises(RegistryError, match="is no JSON object"):
        await FolderRegistry(tmp_path).by_alias("churn", "champion")


class Mlflow:
    """The calls, and what is answered to the next ones: a status and a body."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any, str | None]] = []
        self.answers: list[tuple[int, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.calls.append((request.method, request.path_qs, body, request.headers.get("Authorization")))
        status, found = self.answers.pop(0)
        return web.Response(status=status, text=found if isinstance(found, str) else json.dumps(found))


@asynccontextmanager
async def mlflow() -> AsyncIterator[tuple[Mlflow, MlflowRegistry]]:
    fake = Mlflow()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    config = RegistryConfig(kind="mlflow", uri=f"http://127.0.0.1:{server.port}/", token="abc")
    registry = MlflowRegistry(config)
    try:
        yield fake, registry
    finally:
        await registry.close()
        await server.close()


NO_ALIAS = (
    400,
    {"error_code": "INVALID_PARAMETER_VALUE", "message": "Registered model alias challenger not found."},
)
NO_MODEL = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Registered Model churn not found"})


def version(number: str, **tags: str) -> tuple[int, Any]:
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    return 200, {"model_version": {"name": "churn", "version": number, "tags": listed}}


async def test_mlflow_is_asked_with_the_token() -> None:
    async with mlflow() as (fake, registry):
        fake.answers = [version("7", endpoint="http://v7:1"), NO_ALIAS, NO_MODEL]
        assert await registry.by_alias("churn", "challenger") == Found("churn", "7", "http://v7:1")
        assert await registry.by_alias("churn", "challenger") is None
        assert await registry.by_alias("churn", "challenger") is None
        path = "/api/2.0/mlflow/registered-models/alias?name=churn&alias=challenger"
        assert fake.calls[0] == ("GET", path, None, "Bearer abc")


async def test_in_charge_in_mlflow() -> None:
    async with mlflow() as (fake, registry):
        fake.answers = [version("7"), version("2"), (200, {}), (200, {})]
        assert await registry.put_in_charge(RegisteredVersion("churn", "7"))
        assert [call[::2] for call in fake.calls[2:]] == [
            ("POST", {"name": "churn", "alias": "champion", "version": "7"}),
            ("DELETE", {"name": "churn", "alias": "challenger"}),
        ]
        fake.calls.clear()
        fake.answers = [version("9"), version("7")]
        assert not await registry.put_in_charge(RegisteredVersion("churn", "7"))
        assert [call[0] for call in fake.calls] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, {"error_code": "INTERNAL_ERROR", "message": "disk"}), "MLflow answered 500: disk"),
        ((401, "You are not"), r"the answer \(401\) is not one of MLflow"),
        ((200, "<html>"), r"the answer \(200\) is not one of MLflow"),
        ((200, {}), "the answer is not one of MLflow"),
        ((302, {}), "MLflow answered 302"),
        ((400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "name"}), "MLflow answered 400: name"),
    ],
)
async def test_what_is_no_answer_is_an_error(answer: tuple[int, Any], said: str) -> None:
    async with mlflow() as (fake, registry):
        fake.answers = [answer]
        with pytest.raises(RegistryError, match=said):
            await registry.by_alias("churn", "champion")


async def test_a_server_that_is_not_there_is_an_error_without_its_password() -> None:
    registry = MlflowRegistry(RegistryConfig(kind="mlflow", uri="http://me:secret@127.0.0.1:1"))
    with pytest.raises(RegistryError) as error:
        await registry.by_alias("churn", "champion")
    assert str(error.value) == "MLflow cannot be reached (connection refused)"
    await registry.close()
