"""Each exchange of a route with `feedback` is a row of its prediction log, with what the answer said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.scenarios.harness import Model, Proxy, running, wait_until
from tests.scenarios.prediction_log import logged

LABELLED = """
backends:
  v2: {endpoints: ["http://127.0.0.1:%d"], health: false}
  v3: {endpoints: ["http://127.0.0.1:%d"], health: false}
routes:
  - name: churn
    match: {path: /predict}
    sticky: {json: customer_id}
    split: {v2: 100%%}
    mirror: {to: v3, sample: 100%%, safe: true}
    prediction: {score: p, label: risk, segment: [{json: plan}]}
    feedback: {horizon: 7d, inputs: true}
    rollout: {strategy: canary, champion: v2, challenger: v3, steps: [{weight: 50%%, hold: 1h}], checks: [{metric: error_rate, max: 50%%}]}
  - {name: plain, match: {path: /plain}, split: {v2: 100%%}}
"""
ANSWERS = {"v2": '{"p":0.25,"risk":"low"}', "v3": '{"p":0.75,"risk":"high"}'}


def models() -> dict[str, Model]:
    return {name: Model(answer) for name, answer in ANSWERS.items()}


def config(served: dict[str, Model]) -> str:
    return LABELLED % tuple(model.port for model in served.values())


async def predict(url: str, n: int) -> dict[str, str]:
    """The backends that answered, by request id."""
    found = {}
    async with aiohttp.ClientSession() as session:
        for customer in range(n):
            async with session.post(
                f"{url}/predict", json={"customer_id": customer, "plan": "gold"}
            ) as response:
                assert response.status == 200, await response.text()
                found[response.headers["x-request-id"]] = response.headers["x-crossfade-backend"]
            async with session.post(f"{url}/plain", json={}) as response:
                assert response.status == 200
    return found


async def read_predictions(proxy: Proxy, path: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{proxy.admin_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return [json.loads(line) for line in (await response.text()).splitlines()]


ROWS = """
SELECT CAST(request_id AS TEXT), b.name, a.name, score, label, segment, status, CAST(body AS TEXT), weights
FROM prediction JOIN backend b ON b.id = backend JOIN backend a ON a.id = answered JOIN input USING (seq)
JOIN ledger ON version = ledger_version WHERE score IS NOT NULL
"""


@pytest.mark.parametrize("workers", [0, 2])
async def test_each_request_has_a_row_with_its_output(tmp_path: Path, workers: int) -> None:
    served = models()
    proxy = Proxy(tmp_path, config(served), workers=workers)
    async with running(*served.values(), proxy):
        answered = await predict(proxy.url, 40)

        async def written() -> bool:
            return len(await logged(tmp_path, ROWS)) == 40

        await wait_until(written, "all rows are written with their outputs")
        rows = await logged(tmp_path, ROWS)
        assert {row[0]: row[1] for row in rows} == answered
        for _, backend, by, score, label, segment, status, body, weights in rows:
            said = json.loads(ANSWERS[backend])
            assert (by, score, label, segment, status) == (backend, said["p"], said["risk"], '["gold"]', 200)
            assert json.loads(body)["plan"] == "gold"
            assert json.loads(weights)[backend] > 0
        on_v2 = sum(backend == "v2" for backend in answered.values())

        async def copied() -> bool:
            copies = await logged(tmp_path, "SELECT count(*), min(score), max(label) FROM copy")
            return copies == [(on_v2, 0.75, "high")]

        await wait_until(copied, "copies have outputs")
        assert await logged(tmp_path, "SELECT count(*) FROM prediction", "plain") == []
        lines = await read_predictions(proxy, "/api/v1/predictions/churn?labelled=false")
        assert {row["request_id"]: row["backend"] for row in lines} == answered
        assert {row["input"]["plan"] for row in lines} == {"gold"}
        assert all(0 < row["weight"] <= 1 and row["key"] for row in lines)
