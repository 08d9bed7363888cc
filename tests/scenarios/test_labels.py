"""Real models judged by what became known later: the better one is promoted, the wrong one is not, whenever the labels come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from crossfade_backends.data import as_request, draw_sample
from tests.scenarios.harness import Proxy, running, wait_until
from tests.scenarios.test_shadow_models import backend, model_servers, registry  # noqa: F401 - a fixture

HORIZON = 4.0  # seconds: a week, scaled
CLIENTS = 4
ROUTE = """
routes:
  - name: churn
    match: {{path: /churn/predict}}
    split: {{v2: 100%}}
    prediction: {{score: churn_probability, decision: 0.3}}
    feedback: {{horizon: {horizon:.0f}s, correct_within: 1s}}
    retry: {{pure: true}}
    rollout:
      strategy: shadow
      champion: v2
      challenger: {challenger}
      steps: [{{mirror: 100%, hold: 1s}}, {{weight: 50%, hold: 1s}}]
      min_requests: 100
      checks: [{checks}]
"""
BY_LABELS = "{metric: accuracy, min_increase: 0}, {metric: brier, max_increase: 0.05}"
BY_KPI = (
    BY_LABELS.replace("increase: 0}", "increase: -0.12}")
    + ", {metric: kpi, name: kept, kind: event, missing: 0, min_increase: -0.15}"
)


class Customers:
    """They ask, and `delay` seconds later it is known who left. Whom the model warned of in time is kept."""

    def __init__(self, proxy: Proxy, delay: float) -> None:
        self.proxy, self.delay = proxy, delay
        self.due: list[tuple[float, dict[str, Any]]] = []
        self.answered: set[str] = set()
        self.refused: list[Any] = []
        self.stopping = False

    async def __aenter__(self) -> Customers:
        self.session = aiohttp.ClientSession()
        people = self.people()
        clients = [self.ask(people) for _ in range(CLIENTS)]
        self.tasks = [asyncio.ensure_future(work) for work in (*clients, self.tell())]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stopping = True
        await asyncio.gather(*self.tasks)
        await self.session.close()

    @staticmethod
    def people() -> Iterator[tuple[dict[str, Any], int]]:
        seed = 5
        while True:
            sample = draw_sample(4000, seed)
            for n in range(4000):
                yield as_request(sample, n), int(sample.churned[n])
            seed += 1

    async def ask(self, people: Iterator[tuple[dict[str, Any], int]]) -> None:
        while not self.stopping:
            features, left = next(people)
            url = f"{self.proxy.url}/churn/predict"
            async with self.session.post(url, json=features) as response:
                assert response.status == 200, await response.text()
                answer = await response.json()
                self.answered.add(response.headers["x-crossfade-backend"])
                request = response.headers["x-request-id"]
            at = time.monotonic() + self.delay
            self.due.append((at, {"request_id": request, "label": left}))
            if left and answer["churn_probability"] >= 0.3:
                self.due.append((at, {"request_id": request, "name": "kept", "value": 1}))

    async def tell(self) -> None:
        """Once in a while all that is known by then."""
        while not self.stopping:
            now = time.monotonic()
            known = [row for at, row in self.due if at <= now]
            self.due = [each for each in self.due if each[0] > now]
            if known:
                status, answer = await self.proxy.call("POST", "/api/v1/feedback", known)
                if status != 202 or answer["errors"]:
                    self.refused.append(answer)
            await asyncio.sleep(0.2)


async def judged(
    folder: Path, urls: dict[str, str], checks: str, delay: float
) -> tuple[dict[str, Any], Customers]:
    """The rollout when it has ended, and who asked. The journal is replayed without a difference."""
    challenger = next(name for name in urls if name != "v2")
    config = "backends:\n" + "".join(backend(name, url) for name, url in urls.items())
    proxy = Proxy(folder, config + ROUTE.format(challenger=challenger, checks=checks, horizon=HORIZON))
    async with running(proxy), Customers(proxy, delay) as customers:
        found: dict[str, Any] = {}

        async def has_ended() -> bool:
            found.update(await proxy.rollout())
            return bool(found["phase"] != "progressing")

        await wait_until(
            has_ended, lambda: f"it ends: {[v['reason'] for v in found['verdicts']]}, {customers.refused[:2]}"
        )
    with closing(Store.read(str(folder / "state.db"))) as store:
        report = replayed(journal(store))
    assert (report.differences, report.replayed > 0) == ([], True)
    return found, customers


@pytest.mark.parametrize("delay", [0.0, HORIZON / 2], ids=["at once", "late"])
async def test_the_wrong_model_is_aborted_by_its_accuracy_in_shadow_whenever_the_labels_come(
    tmp_path: Path,
    registry: Path,  # noqa: F811
    delay: float,
) -> None:
    """v4 had cents for euros in training. Its answers are fast and plausible, and no client sees one."""
    async with model_servers(registry, "v2", "v4") as urls:
        found, customers = await judged(tmp_path, urls, BY_LABELS, delay)
    assert found["phase"] == "aborted", found
    (accuracy,) = (v for v in found["verdicts"] if v["check"].startswith("accuracy"))
    assert accuracy["verdict"] == "FAIL", found["verdicts"]
    assert "labelled mirrored pairs" in accuracy["reason"]
    assert customers.answered == {"v2"}


async def test_the_better_model_is_promoted_by_its_labels_and_by_the_kpi(
    tmp_path: Path,
    registry: Path,  # noqa: F811
) -> None:
    """First by labels of mirrored pairs, then by those of its own answers, and by customers who were kept."""
    async with model_servers(registry, "v2", "v3") as urls:
        found, customers = await judged(tmp_path, urls, BY_KPI, HORIZON / 2)
    assert found["phase"] == "promoted", found["verdicts"]
    assert customers.answered == {"v2", "v3"}
