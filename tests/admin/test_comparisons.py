"""GET /api/v1/comparisons/{route}: which comparison it shows, and what it is compared by."""

from __future__ import annotations

import pytest

from tests.admin.site import Site
from tests.control.harness import CHECKS, HEADING
from tests.quality.worlds import BEGUN, World, table_of

PATH = "/api/v1/comparisons/churn"
ROLLOUT = f"    rollout: {{strategy: canary, champion: v2, challenger: v3, checks: {CHECKS[:-1]}, {{metric: disagreement, max: 7%}}]}}\n"
PREDICTION = "    prediction: {score: p, decision: 0.5, segment: [plan, {header: X-Country}]}\n"


def compare(site: Site, challenger: str, n: int = 40) -> None:
    comparisons = site.harness.seam.comparisons
    comparisons.add("churn", challenger, "v2", table_of(World(shift=0.2), n), BEGUN)


async def test_a_route_without_pairs_has_no_comparison(site: Site) -> None:
    problem = await site.get(PATH, 404)
    assert problem["detail"] == "nothing is compared on route churn"
    await site.get("/api/v1/comparisons/nope", 404)


async def test_it_has_the_fields_of_the_schema(site: Site) -> None:
    compare(site, "v4")
    schemas = (await site.get("/openapi.json"))["components"]["schemas"]
    found = await site.get(PATH)
    assert set(found) == set(schemas["ComparisonSummary"]["properties"])
    assert (found["route"], found["champion"], found["challenger"], found["pairs"]) == (
        "churn",
        "v2",
        "v4",
        40,
    )
    assert found["segments"][0]["by"] == "segment 1"  # the route declares none
    assert found["limit"] is None


async def test_it_is_named_where_there_are_several(site: Site) -> None:
    compare(site, "v3", 10)
    compare(site, "v4", 20)
    problem = await site.get(PATH, 409)
    assert problem["detail"] == "route churn has several comparisons; say which challenger: v3, v4"
    assert (await site.get(f"{PATH}?challenger=v3"))["pairs"] == 10
    assert (await site.get(f"{PATH}?challenger=v4"))["pairs"] == 20
    await site.get(f"{PATH}?challenger=v9", 404)


async def reload_with(site: Site, prediction: str) -> None:
    head = site.reloads.file[: site.reloads.file.index("routes:")]
    site.reloads.file = head + HEADING + prediction + ROLLOUT
    await site.ask("POST", "/api/v1/reload")


async def test_it_is_shown_by_what_the_configuration_declares(site: Site) -> None:
    await reload_with(site, PREDICTION)
    compare(site, "v3")
    found = await site.get(PATH)
    assert (found["threshold"], found["limit"], found["segment_limit"]) == (0.5, 0.07, 0.07)
    assert {segment["by"] for segment in found["segments"]} == {"plan", "header x-country"}


@pytest.mark.parametrize("edit", ["segment", "redact"])
async def test_it_begins_anew_when_answers_are_read_in_another_way(site: Site, edit: str) -> None:
    await reload_with(site, PREDICTION)
    compare(site, "v3")
    await reload_with(site, PREDICTION.replace("}\n", ", sample: 50%}\n"))
    assert (await site.get(PATH))["pairs"] == 40
    edited = (
        PREDICTION.replace("plan", "tariff")
        if edit == "segment"
        else PREDICTION.replace("}\n", ", redact: [name]}\n")
    )
    await reload_with(site, edited)
    assert (await site.get(PATH))["pairs"] == 0


async def test_asking_changes_nothing(site: Site) -> None:
    compare(site, "v4")
    before = site.harness.seam.comparisons.to_bytes()
    assert await site.get(PATH) == await site.get(PATH)
    assert site.harness.seam.comparisons.to_bytes() == before
