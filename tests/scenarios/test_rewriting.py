"""The whole proxy before model servers that want paths, hosts and keys of their own (docs/rewriting.md)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.scenarios.harness import Proxy, running, wait_until
from tests.scenarios.model_servers import HOST, KEY, ModelServer, model_servers

TRITON = "/v2/models/churn/versions/3/infer"
TF = "/v1/models/churn/versions/2:predict"


def config(servers: dict[str, ModelServer], route: str, triton_path: str = "/infer") -> str:
    return f"""\
backends:
  triton:
    endpoints: http://127.0.0.1:{servers["triton"].port}/v2/models/churn/versions/3
    health: {{path: /v2/models/churn/versions/3/ready, interval: 200ms}}
    request: {{path: {{replace: {triton_path}}}}}
  tf:
    endpoints: http://127.0.0.1:{servers["tf"].port}
    health: {{path: /v1/models/churn, interval: 200ms}}
    request: {{path: {{replace: "/v1/models/churn/versions/2:predict"}}}}
  hosted:
    endpoints: http://127.0.0.1:{servers["hosted"].port}/v1
    health: {{path: /v1/models, interval: 200ms}}
    request:
      host: {HOST}
      path: {{replace: /chat/completions}}
      headers: {{set: {{authorization: "Bearer ${{MODELS_KEY}}"}}, remove: cookie}}
      json: {{model: churn-3}}
routes:
  - name: churn
    match: {{path: /predict, methods: [POST]}}
    retry: {{pure: true}}
{route}
"""


async def ask(session: aiohttp.ClientSession, proxy: Proxy, times: int) -> Counter[tuple[int, str]]:
    """Statuses and the names of the servers that answered."""
    seen: Counter[tuple[int, str]] = Counter()
    for n in range(times):
        headers = {"Cookie": f"session={n}", "Authorization": "Bearer of-the-client"}
        async with session.post(
            f"{proxy.url}/predict?n=1", json={"x": n, "model": "of-the-client"}, headers=headers
        ) as response:
            answer = await response.json()
            seen[response.status, answer.get("by", "")] += 1
    return seen


async def test_one_split_over_servers_that_want_other_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_KEY", KEY)
    async with model_servers() as servers, aiohttp.ClientSession() as session:
        split = "    split: {triton: 50%, tf: 50%}\n    mirror: {to: hosted, safe: true}\n"
        proxy = Proxy(tmp_path, config(servers, split))
        async with running(proxy):
            await wait_until(lambda: all_up(proxy), "all probes succeed")
            seen = await ask(session, proxy, 100)
            assert set(seen) == {(200, "triton"), (200, "tf")}
            assert servers["triton"].answered == {(f"{TRITON}?n=1", 200): seen[200, "triton"]}
            assert servers["tf"].answered == {(f"{TF}?n=1", 200): seen[200, "tf"]}
            copies = servers["hosted"].answered
            await wait_until(lambda: copies.total() == 100, "all copies")
            assert copies == {("/v1/chat/completions?n=1", 200): 100}
            assert sorted(body["x"] for body in servers["hosted"].bodies) == list(range(100))
            assert {body["model"] for body in servers["hosted"].bodies} == {"churn-3"}
            assert {body["model"] for body in servers["tf"].bodies} == {"of-the-client"}
            assert KEY not in str(await proxy.get("/api/v1/config"))
            assert KEY not in await proxy.get("/metrics")
            await proxy.stop()
            assert KEY not in proxy.output


async def test_a_fallback_and_an_edit_act_on_the_next_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_KEY", KEY)
    async with model_servers() as servers, aiohttp.ClientSession() as session:
        split = "    split: {triton: 100%}\n    fallback: hosted\n"
        proxy = Proxy(tmp_path, config(servers, split))
        async with running(proxy):
            await wait_until(lambda: all_up(proxy), "all probes succeed")
            assert set(await ask(session, proxy, 10)) == {(200, "triton")}
            servers["triton"].broken = True
            assert set(await ask(session, proxy, 3)) == {(200, "hosted")}
            servers["triton"].broken = False
            proxy.write(config(servers, split, "/nowhere"))
            assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
            assert set(await ask(session, proxy, 5)) == {(404, "triton")}
            decisions = str(await proxy.get("/api/v1/decisions"))
            assert KEY not in decisions


async def all_up(proxy: Proxy) -> bool:
    backends = await proxy.get("/api/v1/backends")
    states = [endpoint["up"] for backend in backends["backends"] for endpoint in backend["endpoints"]]
    return bool(states) and all(states)
