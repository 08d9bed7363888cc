"""The metrics page as a reader of Prometheus' text sees it, and counts to put on it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families as plain_text

from crossfade.stats.counts import Counts
from tests.admin.site import Site

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def page_of(site: Site, accept: str = "") -> str:
    async with site.session.get(
        site.url + "/metrics", headers={"Accept": accept} if accept else {}
    ) as response:
        assert response.status == 200
        return await response.text()


async def samples_of(site: Site) -> Samples:
    families = plain_text(await page_of(site))
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def at(samples: Samples, name: str, /, **labels: str) -> float:
    return samples[f"crossfade_{name}", frozenset(labels.items())]


async def count(site: Site, counts: Counts) -> None:
    site.harness.seam.counts = counts
    await site.harness.tick()
