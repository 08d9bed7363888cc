"""Law 17 on the wire: 404s, missing scores and missing decisions of a challenger never pass its checks."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.scenarios.conftest import canary
from tests.scenarios.harness import Load, Proxy, running, wait_until
from tests.scenarios.test_disagreement import SHADOW, STICKY, always_200, decision
from tests.scenarios.test_evidence import fake_backends, phase, verdicts

PREDICTION = "    prediction: {score: out.p}\n"
SELDOM = 0.01  # seconds: the abort needs events in several blocks of five seconds, and more requests bring none sooner


def preset(prediction: str = "") -> str:
    """A canary with the checks of its preset."""
    written = canary("[{weight: 50%, hold: 1h}]").replace(
        "checks: [{metric: error_rate, max: 1%}]", "checks: []"
    )
    return prediction + written


async def aborted(proxy: Proxy) -> str:
    async def reason() -> str | None:
        return await decision(proxy, "abort")

    return str(await wait_until(reason, "the abort"))


@pytest.mark.parametrize("status", [404, 422])
async def test_a_challenger_of_client_errors_is_aborted_by_the_preset(tmp_path: Path, status: int) -> None:
    async def behaviour(backend: str, customer: int) -> int:
        return status if backend == "v3" else 200

    async with fake_backends(behaviour) as backends:
        proxy = Proxy(tmp_path, backends + preset())
        async with running(proxy), Load(proxy.url, pause=SELDOM):
            reason = await aborted(proxy)
            assert reason.startswith("rejected <= champion + 1%: ")
            assert f"× HTTP {status}" in reason
            assert (await proxy.split())["v2"] == 1.0


@pytest.mark.parametrize(
    ("instead", "reason"),
    [("?", "unreadable <= champion + 1%: "), (None, "not a number")],
    ids=["text", "null"],
)
async def test_a_challenger_without_scores_is_aborted_by_the_preset(
    tmp_path: Path, instead: str | None, reason: str
) -> None:
    """A text is no prediction; null where a number belongs is an error of the backend, for the fuse too."""
    generator = random.Random(5)

    def scored(backend: str, customer: int) -> float | str | None:
        return instead if backend == "v3" and generator.random() < 0.5 else generator.random()

    async with fake_backends(always_200, scored) as backends:  # type: ignore[arg-type]
        proxy = Proxy(tmp_path, backends + preset(PREDICTION))
        async with running(proxy), Load(proxy.url, pause=SELDOM):
            assert reason in await aborted(proxy)


async def test_what_is_left_of_the_scores_is_not_compared(tmp_path: Path) -> None:
    generator = random.Random(6)

    def scored(backend: str, customer: int) -> float | str:
        return "?" if backend == "v3" and generator.random() < 0.5 else generator.random()

    check = "score_divergence <= 0.2"
    written = preset(PREDICTION).replace("checks: []", "checks: [{metric: score_divergence, max: 0.2}]")
    async with fake_backends(always_200, scored) as backends:  # type: ignore[arg-type]
        proxy = Proxy(tmp_path, backends.replace(STICKY, "") + written)
        async with running(proxy), Load(proxy.url):

            async def void() -> str | None:
                found = (await verdicts(proxy)).get(check)
                return str(found["reason"]) if found and found["verdict"] == "VOID" else None

            assert "of the challenger's" in await wait_until(void, "the VOID")
            assert await phase(proxy) == "progressing"


async def test_a_shadow_that_gives_no_decision_to_half_of_the_copies_is_aborted(tmp_path: Path) -> None:
    generator = random.Random(7)

    def scored(backend: str, customer: int) -> float | None:
        return None if backend == "v3" and generator.random() < 0.5 else 0.1

    async with fake_backends(always_200, scored) as backends:  # type: ignore[arg-type]
        proxy = Proxy(tmp_path, backends.replace(STICKY, "") + SHADOW.replace("NOISE", "50%"))
        async with running(proxy), Load(proxy.url, pause=SELDOM):
            reason = await aborted(proxy)
            assert reason.startswith("disagreement <= 1%: ")
            assert "because the challenger gave none)" in reason
