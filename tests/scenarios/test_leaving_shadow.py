"""A shadow leaves its mirror steps by its checks: to live traffic by itself, or not at all, whatever kind of fault it has."""

from __future__ import annotations

import asyncio
import random
from contextlib import closing
from pathlib import Path

import pytest

from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from tests.scenarios.harness import Load, Proxy, running, wait_until
from tests.scenarios.test_disagreement import STICKY, decision
from tests.scenarios.test_evidence import fake_backends

SHADOW = """\
    split: {v2: 100%}
    prediction: {score: out.p, decision: 0.5, segment: [{json: customer_id}]}
    mirror: {to: v3, sample: 0%, noise: 50%, safe: true}
    rollout:
      strategy: shadow
      champion: v2
      challenger: v3
      steps: [{mirror: 100%}, {weight: 50%, hold: 1h}]
      min_requests: 200
      checks:
        - {metric: disagreement, max: 30%}
        - {metric: distance, max: 0.1}
        - {metric: segment_divergence, max: 20%}
        - {metric: shadow_latency, quantile: p50, max_ratio: 3}
        - {metric: shadow_errors, max: 1%}
"""


class Models:
    """Both score a customer alike, up to a jitter. The challenger may have a fault."""

    def __init__(self, fault: str = "") -> None:
        self.random, self.fault = random.Random(3), fault

    def score(self, backend: str, customer: int) -> float:
        usual = (0.2, 0.3, 0.7, 0.8)[customer]
        wrong = backend == "v3"
        if wrong and self.fault == "shifted":
            usual = 0.55 if usual > 0.5 else 0.45
        if wrong and self.fault == "segment" and customer == 3:
            usual = 0.2
        return usual + self.random.uniform(-0.02, 0.02)

    async def status(self, backend: str, customer: int) -> int:
        if backend == "v3" and self.fault == "slow":
            await asyncio.sleep(0.1)
        return 500 if backend == "v3" and self.fault == "fails" and self.random.random() < 0.09 else 200


async def end_of(tmp_path: Path, models: Models, action: str) -> str:
    """The reason of the first decision with this action. The journal is replayed without a difference."""
    async with fake_backends(models.status, models.score) as backends:
        proxy = Proxy(tmp_path, backends.replace(STICKY, "") + SHADOW)
        # A fault must be there in several blocks of five seconds, and more requests bring none sooner.
        async with running(proxy), Load(proxy.url, customers=4, pause=0.02):

            async def decided() -> str | None:
                return await decision(proxy, action)

            reason = await wait_until(decided, f"the decision to {action}")
            split = await proxy.split()
        with closing(Store.read(str(tmp_path / "state.db"))) as store:
            assert replayed(journal(store)).differences == []
    assert split["v2"] == (0.5 if action == "advance" else 1.0)
    return str(reason)


async def test_an_equal_model_with_jitter_goes_on_to_live_traffic(tmp_path: Path) -> None:
    await end_of(tmp_path, Models(), "advance")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("shifted", "distance <= 0.1: "),
        ("segment", "decisions change in json customer_id = 3 ("),
        ("slow", "p50 shadow_latency <= 3 x champion: "),
        ("fails", "shadow_errors <= 1%: "),
    ],
)
async def test_a_model_with_a_fault_is_aborted_in_shadow(tmp_path: Path, fault: str, reason: str) -> None:
    """No customer was answered by it."""
    assert reason in await end_of(tmp_path, Models(fault), "abort")
