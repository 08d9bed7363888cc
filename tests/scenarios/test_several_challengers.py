"""Two challengers on one route: the bad one is aborted, and the good one keeps its customers and is promoted."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until


def rollout(challenger: str, steps: str) -> str:
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
    + rollout("v3", "[{weight: 10%, hold: 500ms}, {weight: 30%, hold: 1s}]")
    + rollout("v4", "[{weight: 20%, hold: 1h}]")
)


async def phase(proxy: Proxy, challenger: str) -> str:
    found = await proxy.get(f"/api/v1/rollouts/churn?challenger={challenger}")
    return str(found["phase"])


async def test_the_bad_challenger_is_aborted_and_the_good_one_is_promoted(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, ROUTE))
    async with running(proxy):
        async with Load(proxy.url) as load:
            await wait_until(
                lambda: split_is(proxy, {"v2": 0.5, "v3": 0.3, "v4": 0.2}),
                "the last step of both challengers",
            )
            await load.wait_for_answers(500)
            answers_before = {customer: len(backends) for customer, backends in load.assigned.items()}
            customers_of_v3 = {
                customer for customer, backends in load.assigned.items() if backends[-1] == "v3"
            }
            models["v4"].toggle_errors()
            await wait_until(lambda: phase_is(proxy, "v4", "aborted"), "the abort of v4")
            await wait_until(lambda: phase_is(proxy, "v3", "promoted"), "the promotion of v3")
            await load.wait_for_answers(500)
        assert await split_is(proxy, {"v3": 1.0})
        assert load.failures == []  # the fallback answered the failed requests of v4
        assert customers_of_v3
        later = [load.assigned[customer][answers_before[customer] :] for customer in customers_of_v3]
        assert all(set(backends) == {"v3"} for backends in later)
        paths = [[name for name, _ in groupby(backends)] for backends in load.assigned.values()]
        assert all("v3" not in path[:-1] for path in paths)  # a customer of v3 stays with v3
        decisions = (await proxy.get("/api/v1/decisions"))["decisions"]
        ends = [(d["to"].get("challenger"), d["action"]) for d in decisions if d["actor"] == "loop"][-2:]
        assert ends == [("v4", "abort"), ("v3", "promote")]


async def split_is(proxy: Proxy, split: dict[str, float]) -> bool:
    return {name: share for name, share in (await proxy.split()).items() if share} == split


async def phase_is(proxy: Proxy, challenger: str, wanted: str) -> bool:
    return await phase(proxy, challenger) == wanted
