"""MLServer and MLflow's server by their own protocols, through the real proxy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from crossfade.quality.answer import Output, RawAnswer, decision_of
from crossfade.quality.prediction import Prediction
from crossfade.quality.reading import read_answer
from loadtests.ports import free_port
from tests.docs.blocks import ROOT, blocks_of
from tests.docs.shell import commands
from tests.scenarios.harness import Proxy, running
from tests.servers.environments import serving, write_model
from tests.servers.tapping import Tap, tapped

pytestmark = pytest.mark.timeout(900)  # it takes such servers long to start on a busy machine
ROWS = [[0.0, 0.0], [1.0, 1.0]]  # the model says no to the first one, and yes to the second one


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("mlserver")
    write_model("mlserver", folder)
    http, grpc, metrics = free_port(), free_port(), free_port()
    (folder / "settings.json").write_text(
        f'{{"host": "127.0.0.1", "http_port": {http}, "grpc_port": {grpc}, "metrics_port": {metrics}, "parallel_workers": 0}}'
    )
    ready = f"http://127.0.0.1:{http}/v2/models/churn/ready"
    with serving("mlserver", ["mlserver", "start", str(folder)], ready, folder):
        yield http


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("mlflow")
    write_model("mlflow", folder)
    port = free_port()
    command = [
        "mlflow",
        "models",
        "serve",
        "-m",
        str(folder / "model"),
        "-p",
        str(port),
        "--env-manager",
        "local",
    ]
    with serving("mlflow", command, f"http://127.0.0.1:{port}/ping", folder):
        yield port


def infer_request(rows: list[list[float]], *outputs: str) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [len(rows), 2], "datatype": "FP32", "data": rows}
    return {"inputs": [tensor], "outputs": [{"name": name} for name in outputs]}


async def ask(tap: Tap, url: str, body: Any, coding: str = "identity") -> tuple[bytes, RawAnswer]:
    async with (
        aiohttp.ClientSession(headers={"Accept-Encoding": coding}) as session,
        session.post(url, json=body) as response,
    ):
        await response.read()
    return await tap.answers.get()


@pytest.mark.parametrize("target", ["/v2/models/churn/infer", "/v2/models/churn/versions/v1/infer"])
async def test_mlserver(tmp_path: Path, mlserver: int, target: str) -> None:
    async with tapped(tmp_path, mlserver) as (tap, url):
        body = infer_request(ROWS * 50, "predict", "predict_proba")
        for coding in ("identity", "gzip"):
            sent, raw = await ask(tap, url + target, body, coding)
            assert (b"content-encoding: gzip" in raw.head.lower()) is (coding == "gzip")
            answer = read_answer(raw, sent, Prediction(protocol="auto"))
            assert (len(answer.rows), answer.unread, answer.error) == (100, "", "")
            for row, decision in zip(answer.rows, [0, 1] * 50, strict=True):
                label, shares = row
                assert label == Output("label", decision, "predict")
                assert (shares.kind, shares.name) == ("vector", "predict_proba")
                assert decision_of((shares,), None) == decision
            declared = Prediction(score=("predict_proba",), label=("predict",), protocol="oip_v2")
            assert [output.kind for output in read_answer(raw, sent, declared).rows[0]] == ["vector", "label"]
        await tap.counted(2, "crossfade_observations_total")
        sent, raw = await ask(tap, f"{url}/v2/models/nothing/infer", infer_request(ROWS))
        assert read_answer(raw, sent, Prediction(protocol="auto")).unread == "status"


async def test_mlflow(tmp_path: Path, mlflow: int) -> None:
    bodies: list[dict[str, Any]] = [
        {"dataframe_split": {"columns": ["a", "b"], "data": ROWS}},
        {"dataframe_records": [{"a": a, "b": b} for a, b in ROWS]},
        {"instances": ROWS},
        {"inputs": ROWS},
    ]
    async with tapped(tmp_path, mlflow) as (tap, url):
        for body in bodies:
            sent, raw = await ask(tap, f"{url}/invocations", body)
            answer = read_answer(raw, sent, Prediction(protocol="auto"))
            assert (answer.unread, answer.error) == ("", "")
            assert [row[0].kind for row in answer.rows] == ["vector", "vector"]
            assert [decision_of(row, None) for row in answer.rows] == [0, 1]
            assert [decision_of(row, 0.5) for row in answer.rows] == [False, True]
        await tap.counted(len(bodies), "crossfade_observations_total")
        await tap.counted(0, "crossfade_bad_answers_total")


async def test_mlflow_as_its_page_has_it(tmp_path: Path, mlflow: int) -> None:
    """The file and the request of docs/in-front-of/mlflow.md; both versions are this server."""
    page = "docs/in-front-of/mlflow.md"
    found = list(blocks_of((ROOT / page).read_text("utf-8"), page))
    written = next(block.text for block in found if block.language == "yaml")
    config = yaml.safe_load(re.sub(r"\b500[23]\b", str(mlflow), written))
    del config["listen"]  # the harness says where
    (asked,) = (
        words
        for block in found
        if block.language == "sh"
        for words in commands(block.text)
        if words[0] == "curl"
    )
    body = json.loads(asked[asked.index("-d") + 1])
    proxy = Proxy(tmp_path, yaml.safe_dump(config, sort_keys=False), workers=1)
    async with running(proxy), aiohttp.ClientSession() as session:
        async with session.post(f"{proxy.url}/invocations", json=body) as response:
            assert (response.status, response.headers["x-crossfade-backend"]) == (200, "churn-v2")
            assert len((await response.json())["predictions"]) == len(body["dataframe_split"]["data"])
        await Tap(proxy).counted(1, "crossfade_observations_total", route="churn")
        async with session.post(f"{proxy.url}/invocations", json={"nonsense": 1}) as response:
            assert response.status == 400
        await Tap(proxy).counted(1, "crossfade_bad_answers_total", kind="rejected")
