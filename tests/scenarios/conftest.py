"""Fake models and parts of the routing YAML, shared by the scenarios."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.scenarios.harness import Model, running


@pytest.fixture
async def models() -> AsyncIterator[dict[str, Model]]:
    models = {name: Model(name) for name in ("v2", "v3", "v4")}
    async with running(*models.values()):
        yield models


def routing(models: dict[str, Model], route: str) -> str:
    """YAML of the backends and of one route `churn`; `route` is the end of the route."""
    backends = "".join(
        f"  {name}:\n    endpoints: [http://127.0.0.1:{model.port}]\n"
        "    health: {interval: 200ms}\n    timeout: {first_byte: 5s}\n"
        for name, model in models.items()
    )
    return (
        f"backends:\n{backends}routes:\n  - name: churn\n    match: {{path: /predict}}\n"
        f"    sticky: {{json: customer_id}}\n    retry: {{pure: true}}\n{route}"
    )


def canary(steps: str, more: str = "") -> str:
    return f"""\
    split: {{v2: 100%}}
    fallback: v2
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps: {steps}
      min_requests: 20
      checks: [{{metric: error_rate, max: 1%}}]
{more}"""
