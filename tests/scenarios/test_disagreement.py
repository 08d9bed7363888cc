"""The `disagreement` check: a shadow with other decisions is aborted; one with only the champion's noise is not."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from tests.scenarios.harness import Load, Proxy, running, wait_until
from tests.scenarios.test_evidence import fake_backends, verdicts

CHECK = "disagreement <= 1%"
STICKY = "    sticky: {json: customer_id}\n"
SHADOW = """\
    split: {v2: 100%}
    prediction: {score: out.p, decision: 0.5}
    mirror: {to: v3, sample: 0%, noise: NOISE, safe: true}
    rollout:
      strategy: shadow
      champion: v2
      challenger: v3
      steps: [{mirror: 100%}, {weight: 50%, hold: 1h}]
      min_requests: 200
      checks: [{metric: disagreement, max: 1%}]
"""


async def always_200(backend: str, customer: int) -> int:
    return 200


async def decision(proxy: Proxy, action: str) -> str | None:
    decisions = (await proxy.get("/api/v1/decisions"))["decisions"]
    return next((str(d["reason"]) for d in decisions if d["action"] == action), None)


def noisy_score(generator: random.Random, share: float = 0.02) -> float:
    """0.9 with this probability, else 0.1."""
    return 0.9 if generator.random() < share else 0.1


async def test_a_shadow_that_changes_20_percent_of_the_decisions_is_aborted(tmp_path: Path) -> None:
    generator = random.Random(1)

    def scored(backend: str, customer: int) -> float:
        return noisy_score(generator, 0.2 if backend == "v3" else 0.0)

    async with fake_backends(always_200, scored) as backends:
        proxy = Proxy(tmp_path, backends.replace(STICKY, "") + SHADOW.replace("NOISE", "50%"))
        async with running(proxy), Load(proxy.url):

            async def aborted() -> str | None:
                return await decision(proxy, "abort")

            reason = await wait_until(aborted, "the abort")
            assert reason.startswith(f"{CHECK}: ")
            assert "decisions changed, mostly to yes" in reason
            assert (await proxy.split())["v2"] == 1.0
        with closing(Store.read(str(tmp_path / "state.db"))) as store:
            report = replayed(journal(store))
        assert (report.replayed, report.differences) == (report.decisions - report.given, [])
        assert report.replayed >= 2


async def test_a_shadow_with_the_noise_of_the_champion_advances(tmp_path: Path) -> None:
    """4 % of the decisions differ, as between two answers of the champion; 1 % more is allowed."""
    generator = random.Random(2)

    async with fake_backends(always_200, lambda backend, customer: noisy_score(generator)) as backends:
        proxy = Proxy(tmp_path, backends.replace(STICKY, "") + SHADOW.replace("NOISE", "100%"))
        async with running(proxy), Load(proxy.url):

            async def advanced() -> str | None:
                return await decision(proxy, "advance")

            reason = await wait_until(advanced, "the first step to pass")
            found = (await verdicts(proxy))[CHECK]
            assert found["n"] >= 200, (reason, found)
            assert "when the champion was asked twice" in found["reason"]


async def test_the_verdict_is_undecided_if_the_noise_of_the_champion_is_not_measured(tmp_path: Path) -> None:
    generator = random.Random(3)

    async with fake_backends(always_200, lambda backend, customer: noisy_score(generator)) as backends:
        proxy = Proxy(tmp_path, backends.replace(STICKY, "") + SHADOW.replace("NOISE", "0%"))
        async with running(proxy), Load(proxy.url):

            async def thousand_pairs() -> Any:
                found = (await verdicts(proxy)).get(CHECK)
                return found if found and found["n"] > 1000 else None

            found = await wait_until(thousand_pairs, "a thousand pairs")
            assert found["verdict"] == "UNDECIDED"
            assert await decision(proxy, "advance") is None


async def test_a_customer_counts_as_one_pair_for_any_number_of_requests(tmp_path: Path) -> None:
    """Ten customers with many changed decisions are ten pairs."""

    def scored(backend: str, customer: int) -> float:
        return 0.9 if backend == "v3" else 0.1

    async with fake_backends(always_200, scored) as backends:
        proxy = Proxy(tmp_path, backends + SHADOW.replace("NOISE", "50%"))
        async with running(proxy), Load(proxy.url, customers=10) as load:
            await wait_until(lambda: len(load.failures) > 500, "500 requests of ten customers")

            async def all_ten() -> Any:
                found = (await verdicts(proxy)).get(CHECK)
                return found if found and found["n"] >= 10 else None

            found = await wait_until(all_ten, "a pair of each customer")
            assert (found["verdict"], found["n"]) == ("UNDECIDED", 10)
            assert await decision(proxy, "abort") is None
