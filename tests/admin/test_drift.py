"""`/api/v1/drift/{route}` and `/api/v1/baseline/{route}`."""

from __future__ import annotations

import json

import pytest

from crossfade.quality.profile import read_profile, write_profile
from crossfade.quality.profiling import profile_of
from tests.admin.site import Site
from tests.control.harness import CANARY, HEADING

PROFILE = profile_of(
    [{"age": i % 50, "plan": "ab"[i % 2]} for i in range(500)], [i / 500 for i in range(500)]
)
WATCHED = HEADING + "    prediction: {score: p}\n    drift: {rows: 500}\n"


@pytest.fixture
async def watched(site: Site) -> Site:
    await site.harness.load(WATCHED)
    await site.harness.controller.drift.idle()
    await site.harness.tick()
    return site


async def test_a_route_that_learns_says_so(watched: Site) -> None:
    view = await watched.get("/api/v1/drift/churn")
    assert (view["state"], view["profile"], view["fields"]) == ("learning", None, [])
    assert view["expected_run"] == 30 * 86_400
    assert "no profile yet" in (await watched.get("/api/v1/baseline/churn", 404))["detail"]


async def test_a_profile_is_put_and_got_and_learned_again(watched: Site) -> None:
    view = await watched.ask("PUT", "/api/v1/baseline/churn", data=write_profile(PROFILE))
    assert (view["state"], view["profile"]["rows"]) == ("watching", 500)
    assert [(field["name"], field["type"], field["drift"]) for field in view["fields"]] == [
        ("age", "number", None),
        ("plan", "category", None),
    ]
    found = await watched.get("/api/v1/baseline/churn")
    assert read_profile(json.dumps(found).encode()) == PROFILE
    await watched.ask("POST", "/api/v1/baseline/churn", 202)
    assert watched.harness.controller.drift.route("churn").attempt > 0


async def test_what_is_no_profile_is_refused(watched: Site) -> None:
    body = {**json.loads(write_profile(PROFILE)), "rows": 3}
    refused = await watched.ask("PUT", "/api/v1/baseline/churn", 422, json=body)
    assert refused["detail"] == "The profile is not valid: fields.age: counts more values than the 3 rows."
    await watched.ask("PUT", "/api/v1/baseline/churn", 422, data=b"\xff{")


@pytest.mark.parametrize("path", ["drift/churn", "baseline/churn", "drift/gone", "baseline/gone"])
async def test_a_route_without_drift_has_none(site: Site, path: str) -> None:
    await site.harness.load(CANARY)
    await site.get(f"/api/v1/{path}", 404)


async def test_a_profile_of_the_configuration_is_not_replaced(watched: Site) -> None:
    await watched.harness.load(WATCHED.replace("rows: 500", "baseline: none.json"))
    await watched.harness.controller.drift.idle()
    await watched.ask("PUT", "/api/v1/baseline/churn", 409, data=write_profile(PROFILE))
    await watched.ask("POST", "/api/v1/baseline/churn", 409)
    view = await watched.get("/api/v1/drift/churn")
    assert (view["state"], view["trouble"]) == (
        "no_profile",
        "none.json: cannot be read: No such file or directory",
    )
