"""One of the challenger's two instances is bad: it is ejected, and the model is promoted for what the other one does."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.scenarios.harness import Load, Model, Proxy, running, wait_until


def config(hold: str, champion: Model, *challenger: Model) -> str:
    endpoints = ", ".join(f"http://127.0.0.1:{model.port}" for model in challenger)
    return f"""\
backends:
  v2: {{endpoints: [http://127.0.0.1:{champion.port}]}}
  v3: {{endpoints: [{endpoints}], health: {{interval: 200ms}}, slow_start: 0}}
routes:
  - name: churn
    match: {{path: /predict}}
    split: {{v2: 100%}}
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: [{{weight: 50%, hold: {hold}}}]
      watch: 1s
      checks: [{{metric: error_rate, max: 5%}}, {{metric: error_rate, max_increase: 2%}}]
"""


async def test_a_bad_instance_is_ejected_and_the_model_is_judged_by_the_other(tmp_path: Path) -> None:
    models = [Model("v2"), Model("v3"), Model("v3", errors=0.3)]
    proxy = Proxy(tmp_path, config("1h", *models))
    bad = f"127.0.0.1:{models[2].port}"
    async with running(*models, proxy), Load(proxy.url, pause=0.02) as load:

        async def ejected() -> bool:
            endpoints = (await proxy.get("/api/v1/backends/v3"))["endpoints"]
            return [(e["up"], e["ejected"] != "") for e in endpoints] == [(True, False), (False, True)]

        await wait_until(ejected, "the ejection")
        assert f"{bad} of v3 is ejected" in proxy.output
        failures = len(load.failures)
        proxy.write(config("1s", *models))
        proxy.child.send_signal(signal.SIGHUP)

        async def promoted() -> bool:
            rollout = await proxy.rollout()
            assert rollout["phase"] not in ("aborted", "rolled_back"), rollout
            return bool(rollout["phase"] == "promoted")

        await wait_until(promoted, "the promote")
        assert len(load.failures) <= failures + load.clients  # what was in flight
        decisions = (await proxy.get("/api/v1/decisions?route=churn"))["decisions"]
        promote = next(d for d in decisions if d["action"] == "promote")
        assert f"without {bad} of v3, ejected by evidence" in str(promote["evidence"])
