"""Overview, history, summary and previews over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from crossfade.admin.access import Access
from crossfade.config.admin import AdminConfig
from tests.admin.site import Site, serving

V1 = "/api/v1"


async def run(site: Site, ticks: int = 25) -> None:
    for _ in range(ticks):
        await site.harness.tick(100)
        site.harness.controller.history.look()


async def test_the_overview(site: Site) -> None:
    await run(site, 3)
    (row,) = (await site.get(f"{V1}/overview"))["routes"]
    assert (row["route"], row["challenger"], row["phase"], row["steps"]) == ("churn", "v3", "progressing", 2)
    assert set(row["worst"]) == {"check", "verdict", "margin", "reason"}


async def test_the_history_of_a_route(site: Site) -> None:
    began = int(site.harness.now) - 5
    await run(site)
    until = int(site.harness.now) + 10
    found = await site.get(f"{V1}/history/churn?since={began}&until={until}")
    assert (found["route"], found["since"], found["until"]) == ("churn", began, until)
    assert found["step"] == 600, "2023 is long ago, so only the coarsest points are left"
    both = [found["backends"][name]["requests"][0] for name in ("v2", "v3")]
    assert sum(both) == pytest.approx(100, rel=0.01)
    assert "error_rate <= 5%" in found["checks"]["v3"]
    actions = [d["action"] for d in found["decisions"]]
    assert actions == [d["action"] for d in (await site.get(f"{V1}/decisions"))["decisions"]]
    assert all(len(row) == len(found["at"]) for row in found["backends"]["v2"].values())


async def test_times_as_text_and_their_limits(site: Site) -> None:
    asked = {"since": "2023-11-14T00:00:00Z", "until": "2023-11-15T00:00:00Z", "points": "10"}
    found = await site.get(f"{V1}/history/churn", params=asked)
    assert (found["until"] - found["since"], len(found["at"])) == (86400, 10)
    assert found["backends"] == {}
    now = await site.get(f"{V1}/history/churn")
    assert now["until"] - now["since"] == 6 * 3600
    await site.get(f"{V1}/history/churn?since=5&until=5", 422)
    await site.get(f"{V1}/history/churn?points=5001", 422)
    await site.get(f"{V1}/history/nobody", 404)


async def test_the_summary(site: Site) -> None:
    await run(site, 3)
    found = await site.get(f"{V1}/summary?days=1")
    (row,) = found["routes"]
    assert (found["days"], row["route"], row["champion"]) == (1, "churn", "v2")
    assert (row["requests"], row["availability"]) == (0, None), "the requests of the test were in 2023"
    assert row["since"] == pytest.approx(1_700_000_000)
    await site.get(f"{V1}/summary?days=0", 422)


async def test_a_preview_changes_nothing(site: Site) -> None:
    seen = await site.ask("POST", f"{V1}/rollouts/churn/promote?preview=true")
    assert (seen["action"], seen["allowed"], seen["from"], seen["to"]) == (
        "promote",
        True,
        {"v2": 0.95, "v3": 0.05},
        {"v3": 1.0},
    )
    assert seen["moved"] == {"buckets": 9500, "share": 0.95, "of": {"v2→v3": 9500}}
    assert (await site.get(f"{V1}/rollouts/churn"))["phase"] == "progressing"
    seen = await site.ask("PUT", f"{V1}/routes/churn/split?preview=true", json={"v2": 1, "v3": 1})
    assert (seen["action"], seen["allowed"]) == ("split", False)
    await site.ask("POST", f"{V1}/rollouts/nobody/promote?preview=true", 404)
    done = await site.ask("POST", f"{V1}/rollouts/churn/promote?preview=false")
    assert done["phase"] == "promoted"


@pytest.fixture
async def guarded() -> AsyncIterator[Site]:
    tokens = [
        {"name": "vera", "role": "viewer", "token": "v" * 16},
        {"name": "olga", "role": "operator", "token": "o" * 16},
    ]
    config = AdminConfig.model_validate({"tokens": tokens})
    async with serving(access=Access(lambda: config)) as site:
        yield site


async def test_a_viewer_may_ask_what_a_command_would_do_and_no_more(guarded: Site) -> None:
    headers: dict[str, Any] = {"headers": {"Authorization": f"Bearer {'v' * 16}"}}
    assert (await guarded.ask("POST", f"{V1}/rollouts/churn/abort?preview=true", **headers))["allowed"]
    await guarded.ask("POST", f"{V1}/rollouts/churn/abort", 403, **headers)
    await guarded.ask("POST", f"{V1}/rollouts/churn/abort?preview=false", 403, **headers)
    await guarded.ask("POST", f"{V1}/rollouts/churn/abort?preview=true&preview=false", 422, **headers)
    for sly in ("0", "False", "FALSE", "1", "no", ""):
        await guarded.ask("POST", f"{V1}/rollouts/churn/abort?preview={sly}", 422, **headers)
    assert (await guarded.get(f"{V1}/rollouts/churn", **headers))["phase"] == "progressing"
    for path in ("overview", "history/churn", "summary"):
        await guarded.get(f"{V1}/{path}", **headers)
        await guarded.get(f"{V1}/{path}", 401)
