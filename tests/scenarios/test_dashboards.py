"""Each query of each Grafana panel, run by a real Prometheus that scraped a real proxy, draws something."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.dashboard import Query, dashboard_files, queries
from tests.scenarios.harness import Proxy, running, wait_until
from tests.scenarios.observed import Customers, models
from tests.scenarios.prometheus_server import NEEDS_PROMETHEUS, PrometheusServer

# What is counted here must not happen, so a proxy that is well has no such series.
NOTHING_IS_LOST = {("Rows of the prediction log", "B"), ("Not read", "A")}


async def empty(prometheus: PrometheusServer, wanted: list[Query]) -> list[Query]:
    return [query for query in wanted if not await prometheus.numbers(query.expression)]


@NEEDS_PROMETHEUS
async def test_each_panel_has_data(tmp_path: Path) -> None:
    left = [query for file in dashboard_files() for query in queries(file)]
    assert len(left) > 60
    left = [query for query in left if (query.panel, query.name) not in NOTHING_IS_LOST]
    async with models(tmp_path) as config:
        proxy = Proxy(tmp_path, config)
        prometheus = PrometheusServer(tmp_path, proxy.admin_port)
        async with running(proxy, prometheus), Customers(proxy) as customers:
            await wait_until(lambda: prometheus.numbers("crossfade_build_info"), "a scrape")
            moved = {"half": 60, "gone": 40}  # a decision that Prometheus sees
            status, answer = await proxy.call("PUT", "/api/v1/routes/shaky/split", moved)
            assert status == 200, answer

            async def all_have_data() -> bool:
                nonlocal left
                customers.look()
                left = await empty(prometheus, left)
                if await prometheus.numbers('crossfade_drift{route="churn"}'):
                    customers.factor = 100.0
                return not left

            await wait_until(all_have_data, lambda: "\n".join(map(str, left)))
            # Retries and the fallback save all requests, and nothing of it is to wake anybody.
            assert await prometheus.numbers('ALERTS{alertstate="firing", severity="page"}') == []
