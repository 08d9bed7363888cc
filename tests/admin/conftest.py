from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.admin.site import Site, serving


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Without a token; the route churn, whose canary v3 has begun its first step."""
    async with serving() as site:
        yield site
