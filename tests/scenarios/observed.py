"""A proxy of which everything can be observed: a rollout, a mirror, labels, drift, streams, a queue, retries, TLS.

One process plays all models. Its customers ask, tell later what they bought, and spend a hundred times as much when told to.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from loadtests.ports import free_port
from tests.certificates import Authority
from tests.scenarios.visiting import Visiting

BUYS = {"v2": 0.3, "v3": 0.5}
ROUTES = """
routes:
  - name: churn
    match: {{path: /predict}}
    slo: standard
    sticky: {{json: customer_id}}
    split: {{v2: 100%}}
    mirror: {{to: v4, sample: 100%, safe: true}}
    prediction: {{score: churn_probability}}
    feedback: {{horizon: 2s}}
    drift: {{rows: 200, window: 1s, tolerance: 10%}}
    retrain: {{on: data_drift, command: ["true"]}}
    rollout:
      strategy: ab_test
      champion: v2
      challenger: v3
      steps: [{{weight: 50%, hold: 1h}}]
      min_requests: 100000
      primary: bought
      checks:
        - {{metric: error_rate, max: 5%}}
        - {{metric: kpi, name: bought, kind: event, min_increase: -0.5}}
  - name: chat
    match: {{path: /v1/chat/completions}}
    split: {{llm: 100%}}
    prediction: {{protocol: openai}}
  - name: shaky
    match: {{path: /shaky}}
    split: {{half: 70%, gone: 30%}}
    fallback: v2
    retry: {{attempts: 1, pure: true}}
"""
BACKENDS = """
backends:
  v2: {{endpoints: [http://127.0.0.1:{plain}], health: {{path: /health, interval: 200ms}}}}
  v3: {{endpoints: [http://127.0.0.1:{plain}], health: {{path: /health, interval: 200ms}}}}
  v4: {{endpoints: [http://127.0.0.1:{plain}], health: {{path: /health, interval: 200ms}}}}
  llm:
    endpoints: [https://localhost:{secure}]
    tls: {{ca: {ca}}}
    health: {{path: /health, interval: 200ms}}
    max_in_flight: 1
    queue: {{max: 100, timeout: 30s}}
  half: {{endpoints: [http://127.0.0.1:{plain}, http://127.0.0.1:{nobody}], health: false}}
  gone: {{endpoints: [http://127.0.0.1:{nobody}], health: false}}
"""


async def predict(request: web.Request) -> web.Response:
    return web.json_response({"churn_probability": round(random.random(), 3)})


async def healthy(request: web.Request) -> web.Response:
    return web.Response()


async def chat(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)

    async def say(event: dict[str, Any]) -> None:
        await response.write(b"data: %b\n\n" % json.dumps(event).encode())

    for word in ("a", "few", "words"):
        await say({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
        await asyncio.sleep(0.02)
    await say({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    await say({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
    await response.write(b"data: [DONE]\n\n")
    return response


@asynccontextmanager
async def models(folder: Path) -> AsyncIterator[str]:
    """The configuration of the backends and routes that these models answer for."""
    authority = Authority(folder)
    app = web.Application()
    app.add_routes(
        [
            web.get("/health", healthy),
            web.post("/predict", predict),
            web.post("/shaky", predict),
            web.post("/v1/chat/completions", chat),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server("localhost")).start()
        plain, secure = (address[1] for address in runner.addresses)
        backends = BACKENDS.format(plain=plain, secure=secure, nobody=free_port(), ca=authority.file)
        yield backends + ROUTES.format()
    finally:
        await runner.cleanup()


class Customers(Visiting):
    """Requests to all routes of `ROUTES`, and feedback. `factor`: of what customers spend."""

    factor = 1.0

    async def come(self) -> None:
        while True:
            bought = await asyncio.gather(*(self.buy() for _ in range(20)))
            await asyncio.gather(*(self.post("/shaky", {}) for _ in range(4)))
            await asyncio.gather(*(self.post("/v1/chat/completions", {"stream": True}) for _ in range(3)))
            await self.post("/predict", b"not JSON")
            status, answer = await self.proxy.call("POST", "/api/v1/feedback", bought)
            assert status == 202, answer

    async def buy(self) -> dict[str, Any]:
        self.asked += 1
        row = {"customer_id": f"K{self.asked}", "amount": self.rng.lognormvariate(3, 1) * self.factor}
        headers = await self.post("/predict", row)
        value = float(self.rng.random() < BUYS[headers["x-crossfade-backend"]])
        return {"request_id": headers["x-request-id"], "name": "bought", "value": value}

    async def post(self, path: str, body: Any) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(self.proxy.url + path, data=data) as response:
            await response.read()
            return response.headers
