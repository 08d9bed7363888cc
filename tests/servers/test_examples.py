"""examples/mlflow and examples/mlserver as their folders have them, with the servers that others wrote; only ports are others."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from loadtests.ports import free_port
from tests.docs.blocks import blocks_of
from tests.docs.shell import commands
from tests.examples.running import EXAMPLES, proxy_of
from tests.scenarios.harness import Proxy, running, wait_until
from tests.servers.environments import TIMEOUT, environment, serving
from tests.servers.tapping import Tap

pytestmark = pytest.mark.timeout(900)  # it takes such servers long to start on a busy machine


def body_of(example: str) -> Any:
    """What curl sends in the README."""
    written = (EXAMPLES / example / "README.md").read_text("utf-8")
    (shell,) = (block.text for block in blocks_of(written, example) if block.language == "sh")
    (curl,) = (words for words in commands(shell) if words[0] == "curl")
    return json.loads(curl[curl.index("-d") + 1])


@asynccontextmanager
async def both_answer(proxy: Proxy, path: str, body: Any) -> AsyncIterator[tuple[aiohttp.ClientSession, Any]]:
    """Asks for customers until both versions have answered: a session, and an answer of each backend."""
    answers: dict[str, Any] = {}
    asked = 0
    async with running(proxy), aiohttp.ClientSession() as session:

        async def both_answered() -> bool:
            nonlocal asked
            fields = {"X-Customer-Id": f"C{asked}"}
            async with session.post(proxy.url + path, json=body, headers=fields) as response:
                assert response.status == 200, await response.text()
                answers[response.headers["x-crossfade-backend"]] = await response.json()
            asked += 1
            return answers.keys() == {"churn-v2", "churn-v3"}

        await wait_until(both_answered, lambda: f"both versions answer: {answers}")
        await Tap(proxy).counted(asked, "crossfade_observations_total", route="churn")
        yield session, answers


def train(folder: Path) -> None:
    python = environment("mlflow") / "python"
    script = EXAMPLES / "mlflow" / "train.py"
    subprocess.run([python, script, "v2", "v3"], check=True, timeout=TIMEOUT, cwd=folder)


async def test_mlflow(tmp_path: Path) -> None:
    train(tmp_path)
    ports = {5002: free_port(), 5003: free_port()}
    with ExitStack() as servers:
        for version, port in zip(("v2", "v3"), ports.values(), strict=True):
            folder = tmp_path / f"of-{version}"
            folder.mkdir()
            model = ["-m", str(tmp_path / version), "-p", str(port), "--env-manager", "local"]
            ready = f"http://127.0.0.1:{port}/ping"
            servers.enter_context(serving("mlflow", ["mlflow", "models", "serve", *model], ready, folder))
        proxy = proxy_of("mlflow", ports, tmp_path)
        async with both_answer(proxy, "/invocations", body_of("mlflow")) as (session, answers):
            for answer in answers.values():
                stays, leaves = answer["predictions"]
                assert stays[1] < 0.5 < leaves[1]
            async with session.post(f"{proxy.url}/invocations", json={"nonsense": 1}) as response:
                assert response.status == 400
            await Tap(proxy).counted(1, "crossfade_bad_answers_total", kind="rejected")


async def test_mlserver(tmp_path: Path) -> None:
    environment("mlserver")
    folder = tmp_path / "mlserver"
    shutil.copytree(EXAMPLES / "mlserver", folder, ignore=shutil.ignore_patterns("__pycache__"))
    settings = json.loads((folder / "settings.json").read_text("utf-8"))
    ports = {settings[name]: free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    moved = {name: ports.get(value, value) for name, value in settings.items()}
    (folder / "settings.json").write_text(json.dumps(moved), "utf-8")
    ready = f"http://127.0.0.1:{moved['http_port']}/v2/models/churn/versions/v3/ready"
    with serving("mlserver", ["mlserver", "start", "."], ready, folder):
        proxy = proxy_of("mlserver", ports, tmp_path)
        path = "/v2/models/churn/infer"
        async with both_answer(proxy, path, body_of("mlserver")) as (session, answers):
            for backend, threshold in (("churn-v2", 20.0), ("churn-v3", 22.0)):
                (output,) = answers[backend]["outputs"]
                assert answers[backend]["model_version"] == backend.removeprefix("churn-")
                assert output["data"] == pytest.approx([threshold / (threshold + x) for x in (80.5, 3.0)])
            async with session.post(proxy.url + path, json={"inputs": []}) as response:
                assert response.status == 400
