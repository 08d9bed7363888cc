"""Verdicts with real servers: a bad challenger is aborted, an equal one is not, a shared outage is VOID."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.scenarios.conftest import routing
from tests.scenarios.fast_load import FastLoad
from tests.scenarios.harness import Model, Proxy, running, wait_until

# The fault must be there in some blocks of five seconds (docs/statistics.md), and more than some hundred requests a second
# bring none sooner.
SELDOM = 0.02  # seconds
MAX_REQUESTS = 100_000
RELATIVE = "[{metric: error_rate, max_increase: 0.5%}]"
ROLLOUTS = 20


def canary_without_fallback(steps: str, checks: str = RELATIVE, more: str = "") -> str:
    """A rollout on the route `churn` without a fallback, so that clients get the errors."""
    return f"""\
    split: {{v2: 100%}}
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: {steps}
      checks: {checks}
{more}"""


async def phase_is(proxy: Proxy, phase: str, route: str = "churn") -> bool:
    return bool((await proxy.rollout(route))["phase"] == phase)


async def last_decision(proxy: Proxy, route: str = "churn") -> dict[str, Any]:
    found: dict[str, Any] = (await proxy.get(f"/api/v1/rollouts/{route}/why"))["decision"]
    return found


async def test_a_challenger_with_5_percent_errors_at_weight_5_percent_is_aborted_in_time(
    tmp_path: Path,
) -> None:
    models = {"v2": Model("v2", errors=0.01), "v3": Model("v3", errors=0.05)}
    proxy = Proxy(tmp_path, routing(models, canary_without_fallback("[{weight: 5%, hold: 1h}]")))
    async with running(*models.values(), proxy), FastLoad(proxy.port, pause=SELDOM) as load:
        await wait_until(lambda: load.total > MAX_REQUESTS or phase_is(proxy, "aborted"), "the abort")
        assert await phase_is(proxy, "aborted"), load.answers
        decision = await last_decision(proxy)
        strata = decision["evidence"]["given"]["evidence"]["strata"]
        needed = sum(s[side]["requests"] for s in strata for side in ("champion", "challenger"))
        assert decision["actor"] == "loop"
        assert needed <= MAX_REQUESTS
        assert "error_rate <= champion + 0.5%" in decision["reason"]
        print(f"aborted after {needed} requests: {decision['reason']}")


async def test_a_challenger_equal_to_its_champion_is_promoted_on_20_routes(tmp_path: Path) -> None:
    """One server is behind both backends, so they are equal. It has jitter, and restarts during the rollouts."""
    model = Model("twice", errors=0.002, jitter=0.002)
    models = {"v2": model, "v3": model}
    checks = "[{metric: error_rate, max_increase: 5%}, {metric: latency, quantile: p90, max_ratio: 1.5}]"
    # Weights below 50 %, so that ten consecutive errors of the challenger always come with some of the champion.
    one = canary_without_fallback(
        "[{weight: 10%, hold: 1s}, {weight: 30%, hold: 1s}]", checks, "      watch: 500ms\n"
    )
    names = [f"r{n}" for n in range(ROLLOUTS)]
    head, _, _ = routing(models, "").partition("routes:")
    routes = "".join(f"  - name: {name}\n    match: {{path: /{name}}}\n{one}" for name in names)
    proxy = Proxy(tmp_path, f"{head}routes:\n{routes}")
    async with (
        running(model, proxy),
        FastLoad(proxy.port, tuple(f"/{name}" for name in names), 32) as load,
    ):
        await load.wait_for_answers(4000)
        await model.stop()
        await load.wait_for_answers(500)
        await model.start()

        async def all_ended() -> bool:
            rollouts = (await proxy.get("/api/v1/rollouts"))["rollouts"]
            return all(r["phase"] not in ("progressing", "paused") for r in rollouts)

        await wait_until(all_ended, "the end of all rollouts")
        rollouts = (await proxy.get("/api/v1/rollouts"))["rollouts"]
        reasons = [
            (await last_decision(proxy, r["route"]))["reason"] for r in rollouts if r["phase"] != "promoted"
        ]
        assert not reasons, reasons
        print(f"{ROLLOUTS} promoted in {load.total} requests, {load.answers}")


async def test_a_shared_outage_is_void_and_aborts_no_rollout(tmp_path: Path) -> None:
    models = {name: Model(name) for name in ("v2", "v3")}
    checks = "[{metric: error_rate, max: 1%}, {metric: error_rate, max_increase: 0.5%}]"
    proxy = Proxy(tmp_path, routing(models, canary_without_fallback("[{weight: 20%, hold: 1h}]", checks)))
    async with running(*models.values(), proxy), FastLoad(proxy.port) as load:
        await load.wait_for_answers(1000)
        for model in models.values():  # the champion fails first
            model.toggle_errors()
        await load.wait_for_answers(2000)

        async def void() -> bool:
            verdicts = (await proxy.rollout())["verdicts"]
            return any(v["verdict"] == "VOID" and "champion" in v["reason"] for v in verdicts)

        await wait_until(void, "a VOID verdict that names the champion")
        for model in models.values():
            model.toggle_errors()
        await load.wait_for_answers(3000)
        rollout = await proxy.rollout()
        assert (rollout["phase"], rollout["step"], rollout["weight"]) == ("progressing", 0, 0.2)


async def test_a_challenger_without_requests_is_not_promoted(tmp_path: Path) -> None:
    """The route gets no requests. `on_undecided: advance` pauses too if there is no evidence."""
    models = {name: Model(name) for name in ("v2", "v3")}
    more = "      max_step_time: 500ms\n      on_undecided: advance\n"
    proxy = Proxy(
        tmp_path, routing(models, canary_without_fallback("[{weight: 50%, hold: 200ms}]", RELATIVE, more))
    )
    async with running(*models.values(), proxy):
        await wait_until(lambda: phase_is(proxy, "paused"), "the pause after max_step_time")
        status, answer = await proxy.call("POST", "/api/v1/rollouts/churn/resume")
        assert status == 200, answer
        await wait_until(lambda: phase_is(proxy, "paused"), "the second pause after max_step_time")
        decisions = (await proxy.get("/api/v1/decisions"))["decisions"]
        assert [d["action"] for d in decisions] == ["start", "begin", "pause", "resume", "pause"]
        assert (await proxy.split()) == {"v2": 0.5, "v3": 0.5}


async def test_the_fuse_aborts_a_challenger_that_fails_every_request(tmp_path: Path) -> None:
    models = {name: Model(name) for name in ("v2", "v3")}
    proxy = Proxy(tmp_path, routing(models, canary_without_fallback("[{weight: 50%, hold: 1h}]")))
    async with running(*models.values(), proxy), FastLoad(proxy.port) as load:
        await load.wait_for_answers(500)
        models["v3"].toggle_errors()
        await wait_until(lambda: phase_is(proxy, "aborted"), "the abort")
        await load.wait_for_answers(500)
        decision = await last_decision(proxy)
        assert decision["reason"].startswith("fuse: ")
        assert await proxy.split() in ({"v2": 1.0}, {"v2": 1.0, "v3": 0.0})
        served = load.answers["v3", True] + load.answers["v3", False]
        await load.wait_for_answers(500)
        assert load.answers["v3", True] + load.answers["v3", False] == served
        seconds = load.last["v3"] - load.first_bad["v3"]
        print(f"{seconds:.2f} s from the first error to the last answer of the challenger")
