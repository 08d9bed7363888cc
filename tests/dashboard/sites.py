"""Admin APIs with something to see, over the fake workers of the harness."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.admin.site import Site, serving
from tests.control.harness import CANARY, CHECKS

ROUTES = 200
PLAIN = "  - {{name: model-{0:03}, match: {{path: /m/{0}}}, split: {{v2: 70%, v4: 30%}}}}\n"
IN_ROLLOUT = (
    "  - {{name: model-{0:03}, match: {{path: /m/{0}}}, split: {{v2: 100%}}, rollout: {{strategy: canary, champion: v2, challenger: v3, "
    "steps: [{{weight: 5%, hold: 1h}}, {{weight: 50%, hold: 1h}}], min_requests: 50, checks: {1}}}}}\n"
)


def many_routes() -> str:
    """`churn`, and behind it 199 others, of which every fifth has a rollout."""
    others = (IN_ROLLOUT if i % 5 == 0 else PLAIN for i in range(1, ROUTES))
    return CANARY + "".join(each.format(i, CHECKS) for i, each in enumerate(others, 1))


@asynccontextmanager
async def busy_site(routes: str = CANARY) -> AsyncIterator[Site]:
    """The canary of churn is in its last step; it has traffic, and nothing is wrong."""
    async with serving(loaded=False) as site:
        site.harness.wall_ahead = time.time() - site.harness.now  # the browser's clock is the real one
        await site.harness.load(routes)
        await site.harness.run(20)
        yield site


@asynccontextmanager
async def aborted_site() -> AsyncIterator[Site]:
    """The canary of churn was aborted for its errors."""
    async with busy_site() as site:
        site.harness.error_share["v3"] = 0.2
        await site.harness.run(20)
        yield site
