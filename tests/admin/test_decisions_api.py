"""Decisions over the admin API: in brief, forward, backward, and in pages with a stated end."""

from __future__ import annotations

import pytest

from tests.admin.site import FILE, Site


async def test_decisions_in_brief_have_all_but_what_the_evaluation_was_given(site: Site) -> None:
    whole = (await site.get("/api/v1/decisions"))["decisions"]
    brief = (await site.get("/api/v1/decisions?brief=true"))["decisions"]
    assert any("given" in decision["evidence"] for decision in whole)
    for decision in whole:
        decision["evidence"].pop("given", None)
    assert brief == whole
    found = await site.get("/api/v1/rollouts/churn/why?brief=true")
    assert found["decision"] == whole[-1]


async def test_why_gives_the_last_decision(site: Site) -> None:
    await site.ask("POST", "/api/v1/rollouts/churn/pause", json={"reason": "lunch"})
    why = await site.get("/api/v1/rollouts/churn/why")
    assert (why["phase"], why["decision"]["reason"]) == ("paused", "lunch")
    assert why["would_change"]


async def test_decisions_read_forward_from_one_or_back_from_the_newest(site: Site) -> None:
    for verb in ("pause", "resume") * 6:
        await site.ask("POST", f"/api/v1/rollouts/churn/{verb}")
    ids = [d.id for d in await site.harness.decisions()]

    async def asked(query: str) -> list[int]:
        return [d["id"] for d in (await site.get(f"/api/v1/decisions?{query}"))["decisions"]]

    assert await asked("") == ids
    assert await asked("after=0&limit=3") == ids[:3]
    assert await asked(f"after={ids[-2]}") == ids[-1:]
    assert await asked("limit=5") == ids[-5:]
    assert await asked("limit=5&route=churn") == ids[-5:]
    assert await asked("route=nope") == []


async def test_the_newest_decision_of_a_quiet_route_is_found_behind_many_of_another(site: Site) -> None:
    site.reloads.file = FILE + "  - {name: quiet, match: {prefix: /}, split: {v2: 60%, v4: 40%}}\n"
    await site.ask("POST", "/api/v1/reload")
    for v2 in (50, 40):
        await site.ask("PUT", "/api/v1/routes/quiet/split", json={"v2": v2, "v4": 100 - v2})
    for verb in ("pause", "resume") * 20:
        await site.ask("POST", f"/api/v1/rollouts/churn/{verb}")
    found = (await site.get("/api/v1/decisions?limit=2&route=quiet"))["decisions"]
    assert [(d["route"], d["to"]["split"]) for d in found] == [
        ("quiet", {"v2": 0.5, "v4": 0.5}),
        ("quiet", {"v2": 0.4, "v4": 0.6}),
    ]
    assert len((await site.get("/api/v1/decisions?limit=2&route=churn"))["decisions"]) == 2
    assert (await site.get("/api/v1/decisions?limit=1&route=nope"))["decisions"] == []


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("after=-1", "after must be at least 0."),
        ("after=x", "after must be a whole number."),
        ("after=9999999999999999999", "after must be at most 9223372036854775807."),
        ("limit=0", "limit must be at least 1."),
        ("limit=1001", "limit must be at most 1000."),
        ("limit=", "limit must be a whole number."),
        ("limit=null", "limit must be a whole number."),
        ("limit=1&limit=2", "limit is given 2 times."),
        ("limits=1", "limits is no parameter; there are route, after, limit, brief. Did you mean limit?"),
    ],
)
async def test_decisions_refuse_bad_parameters(site: Site, query: str, detail: str) -> None:
    assert (await site.get(f"/api/v1/decisions?{query}", 422))["detail"] == detail


async def test_pages_of_decisions_have_a_stated_end(site: Site) -> None:
    for verb in ("pause", "resume", "abort", "retry"):
        await site.ask("POST", f"/api/v1/rollouts/churn/{verb}")
    whole = await site.get("/api/v1/decisions")
    ids = [decision["id"] for decision in whole["decisions"]]
    assert whole["next"] is None
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = await site.get(f"/api/v1/decisions?after={after}&limit=2")
        seen += [decision["id"] for decision in page["decisions"]]
        after = page["next"]
    assert seen == ids
    assert len(ids) > 3
    assert (await site.get(f"/api/v1/decisions?after={ids[-1]}")) == {"decisions": [], "next": None}
