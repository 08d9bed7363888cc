"""What is explained is what happens: the same requests are explained, and sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from tests.scenarios.harness import Model, Proxy, running

CONFIG = """
backends:
  v2: {{endpoints: [http://127.0.0.1:{0}]}}
  v3: {{endpoints: [http://127.0.0.1:{1}]}}
routes:
  - name: big
    match: {{path: /predict, methods: [POST], json: {{model: big}}}}
    split: {{v3: 100%}}
  - name: churn
    match: {{prefix: /predict}}
    sticky: [{{header: X-Customer}}, {{cookie: customer}}, {{query: c}}, {{json: customer.id}}]
    split: {{v2: 60%, v3: 40%}}
"""


def requests() -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for n in range(12):
        out += [
            {"target": "/predict", "headers": {"X-Customer": f"a{n}"}},
            {"target": "/predict/x", "headers": {"Cookie": f"other=1; customer=b{n}"}},
            {"target": f"/predict?c=d{n}&e"},
            {"target": "/predict", "method": "POST", "body": f'{{"customer": {{"id": {n}.0}}}}'},
        ]
    return [
        *out,
        {"target": "/predict", "method": "POST", "body": '{"model": "big", "customer": {"id": 1}}'},
        {"target": "/predict//%78", "headers": {"X-Customer": "slashes"}},
        {"target": "/predictions"},
        {"target": "/predict/..%2fadmin", "headers": {"X-Customer": "dots"}},
    ]


async def sent(proxy: Proxy, request: dict[str, Any]) -> tuple[int, str]:
    """Status and backend of the answer. The target goes out as it is spelled."""
    from yarl import URL

    url = URL(f"{proxy.url}{request['target']}", encoded=True)
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            request.get("method", "GET"), url, headers=request.get("headers"), data=request.get("body")
        ) as response,
    ):
        return response.status, response.headers.get("x-crossfade-backend", "")


async def explained(proxy: Proxy, request: dict[str, Any]) -> Any:
    status, found = await proxy.call("POST", "/api/v1/explain", request)
    assert status == 200, found
    return found


async def test_requests_go_where_the_explanation_says_also_after_the_weights_that_it_names(
    tmp_path: Path,
) -> None:
    v2, v3 = Model("v2"), Model("v3")
    proxy = Proxy(tmp_path, CONFIG.format(v2.port, v3.port), workers=1)
    async with running(v2, v3, proxy):
        for request in requests():
            found = await explained(proxy, request)
            status, backend = await sent(proxy, request)
            if found["refused"]:
                assert (status, backend) == (found["refused"]["status"], ""), request
            else:
                assert backend == found["backend"], request
        request = {"target": "/predict", "headers": {"X-Customer": "mover"}}
        found = await explained(proxy, request)
        for move in found["moves"]:
            await proxy.call("PUT", "/api/v1/routes/churn/split", move["weights"])
            assert (await sent(proxy, request))[1] == move["to"] != found["backend"]
