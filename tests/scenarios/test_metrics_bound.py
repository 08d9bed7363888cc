"""Whatever clients send and feedback names, the page of metrics has no more series than the configuration makes."""

from __future__ import annotations

import random
import re
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Model, Proxy, running, wait_until

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "BREW")
WORD = re.compile(r"w[0-9a-f]{12}")
Series = set[tuple[str, frozenset[tuple[str, str]]]]


async def series(proxy: Proxy) -> Series:
    families = text_string_to_metric_families(await proxy.get("/metrics"))
    return {(s.name, frozenset(s.labels.items())) for family in families for s in family.samples}


async def hammer(proxy: Proxy, rng: random.Random, session: aiohttp.ClientSession) -> None:
    """200 requests of all kinds with names that have not been there, and feedback of 80 names."""

    def word() -> str:
        return f"w{rng.getrandbits(64):x}"

    for n in range(200):
        path = ("/predict", f"/{word()}", f"/predict/{word()}", f"/predict?{word()}={word()}")[n % 4]
        headers = {
            "Host": f"{word()}.test",
            "X-Request-Id": word(),
            f"X-{word()}": word(),
            "Cookie": f"{word()}={word()}",
            "X-Crossfade-Override": word() if n % 10 == 0 else "",
        }
        body = {"customer_id": word(), word(): word()} if n % 8 else [word()]
        method = METHODS[n // 4 % len(METHODS)]
        async with session.request(method, proxy.url + path, json=body, headers=headers) as response:
            await response.read()
    rows = [{"request_id": word(), "name": word(), "value": 1} for _ in range(80)]
    status, answer = await proxy.call("POST", "/api/v1/feedback", rows)
    assert status == 202, answer


async def test_no_client_makes_a_series(tmp_path: Path, models: dict[str, Model]) -> None:
    route = (
        "    prediction: {score: churn_probability, segment: [{json: plan}]}\n    feedback: {horizon: 1h}\n"
    )
    proxy = Proxy(tmp_path, routing(models, route + canary("[{weight: 50%, hold: 1h}]")))
    rng = random.Random(7)
    async with running(proxy), aiohttp.ClientSession() as session:

        async def counted() -> bool:
            """The kinds of outcomes are few: one round more brings none that is new."""
            before = await series(proxy)
            await hammer(proxy, rng, session)
            return await series(proxy) <= before

        await wait_until(counted, "a round without a new series")
        known = await series(proxy)
        await hammer(proxy, rng, session)
        await hammer(proxy, rng, session)
        assert await series(proxy) <= known
        sent = {(name, label) for name, labels in known for label, value in labels if WORD.search(value)}
        assert sent == {("crossfade_feedback_total", "name")}
        names = {dict(labels)["name"] for name, labels in known if name == "crossfade_feedback_total"}
        assert len(names) == 51 and "(other)" in names
