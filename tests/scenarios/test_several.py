"""Two challengers on one route: the bad one is thrown out under the customers of the good one, who is promoted."""

from __future__ import annotations

import signal
from itertools import groupby
from pathlib import Path

from tests.scenarios.conftest import routing
from tests.scenarios.stagehands import Load, Model, Proxy, running, wait_until


def entry(challenger: str, steps: str) -> str:
    return f"""\
      - strategy: canary
        champion: v2
        challenger: {challenger}
        steps: {steps}
        min_requests: 20
        checks: [{{metric: error_rate, max: 1%}}]
"""


ROUTE = (
    "    split: {v2: 100%}\n    fallback: v2\n    rollout:\n"
    + entry("v3", "[{weight: 10%, hold: 500ms}, {weight: 30%, hold: 1s}]")
    + entry("v4", "[{weight: 20%, hold: 1h}]")
)


async def phase(proxy: Proxy, challenger: str) -> str:
    found = await proxy.get(f"/api/v1/rollouts/churn?challenger={challenger}")
    return str(found["phase"])


async def test_the_bad_one_goes_and_the_good_one_stays_and_is_promoted(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, ROUTE))
    async with running(proxy):
        async with Load(proxy.url) as load:
            await wait_until(
                lambda: is_at(proxy, {"v2": 0.5, "v3": 0.3, "v4": 0.2}), "both at their last step"
            )
            await load.more(500)
            ahead = {customer: len(seen) for customer, seen in load.seen.items()}
            good = {customer for customer, seen in load.seen.items() if seen[-1] == "v3"}
            models["v4"].child.send_signal(signal.SIGUSR1)
            await wait_until(lambda: is_over(proxy, "v4", "aborted"), "the abort of v4")
            await wait_until(lambda: is_over(proxy, "v3", "promoted"), "the promotion of v3")
            await load.more(500)
        assert await is_at(proxy, {"v3": 1.0})
        assert load.failures == []  # what v4 failed was answered by the fallback
        assert good
        assert all(set(load.seen[customer][ahead[customer] :]) == {"v3"} for customer in good)
        paths = [[name for name, _ in groupby(seen)] for seen in load.seen.values()]
        assert all("v3" not in path[:-1] for path in paths)  # once with the good one, always with it
        decisions = (await proxy.get("/api/v1/decisions"))["decisions"]
        ends = [(d["to"].get("challenger"), d["action"]) for d in decisions if d["actor"] == "loop"][-2:]
        assert ends == [("v4", "abort"), ("v3", "promote")]


async def is_at(proxy: Proxy, split: dict[str, float]) -> bool:
    return {name: share for name, share in (await proxy.split()).items() if share} == split


async def is_over(proxy: Proxy, challenger: str, wanted: str) -> bool:
    return await phase(proxy, challenger) == wanted
