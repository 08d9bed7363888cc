"""ETags of what can be changed, If-Match on changes, If-None-Match on reads."""

from __future__ import annotations

import asyncio

import pytest

from tests.admin.site import Site, check_problem

ROUTE, ROLLOUT = "/api/v1/routes/churn", "/api/v1/rollouts/churn"
CHANGED = "urn:crossfade:problem:changed"


async def tag_of(site: Site, path: str) -> str:
    async with site.session.get(site.url + path) as response:
        assert response.status == 200
        return response.headers["ETag"]


async def status_of(site: Site, method: str, path: str, **headers: str) -> int:
    async with site.session.request(method, site.url + path, headers=headers) as response:
        if response.status >= 400:
            check_problem(response, await response.json(content_type=None))
        return response.status


async def test_a_route_and_its_rollout_have_one_tag_that_numbers_do_not_change(site: Site) -> None:
    tag = await tag_of(site, ROUTE)
    assert tag == await tag_of(site, ROLLOUT)
    await site.harness.tick(3)
    assert tag == await tag_of(site, ROUTE)


async def test_a_command_changes_the_tag_and_answers_the_new_one(site: Site) -> None:
    before = await tag_of(site, ROLLOUT)
    async with site.session.post(f"{site.url}{ROLLOUT}/pause", headers={"If-Match": before}) as response:
        assert response.status == 200
        after = response.headers["ETag"]
    assert after != before
    assert after == await tag_of(site, ROUTE)


@pytest.mark.parametrize(("method", "path"), [("POST", f"{ROLLOUT}/abort"), ("PUT", f"{ROUTE}/split")])
async def test_who_has_seen_another_state_changes_nothing(site: Site, method: str, path: str) -> None:
    if method == "PUT":
        await site.ask("POST", f"{ROLLOUT}/abort")
    old = await tag_of(site, ROUTE)
    await site.ask("POST", f"{ROLLOUT}/{'pause' if method == 'POST' else 'retry'}")
    if method == "PUT":
        await site.ask("POST", f"{ROLLOUT}/abort")
    decisions = len(await site.actors())
    refused = await site.ask(
        method, path, 412, json={"v2": 1} if method == "PUT" else {}, headers={"If-Match": old}
    )
    assert refused["type"] == CHANGED
    assert "route churn has changed since you looked at it" in refused["detail"]
    assert len(await site.actors()) == decisions


async def test_of_two_who_have_seen_the_same_only_one_acts(site: Site) -> None:
    seen = await tag_of(site, ROLLOUT)
    acts = (status_of(site, "POST", f"{ROLLOUT}/{verb}", **{"If-Match": seen}) for verb in ("pause", "abort"))
    assert sorted(await asyncio.gather(*acts)) == [200, 412]


@pytest.mark.parametrize(
    ("given", "status"),
    [("*", 200), ('"other", {}', 200), ("W/{}", 412), ("other", 412), ('"other"', 412), ("", 412)],
)
async def test_if_match_is_a_list_of_strong_tags_or_a_star(site: Site, given: str, status: int) -> None:
    header = given.format(await tag_of(site, ROLLOUT))
    assert await status_of(site, "POST", f"{ROLLOUT}/pause", **{"If-Match": header}) == status


async def test_a_name_that_is_not_there_is_not_found_before_tags_are_compared(site: Site) -> None:
    assert await status_of(site, "POST", "/api/v1/rollouts/nope/pause", **{"If-Match": '"x"'}) == 404


@pytest.mark.parametrize("path", [ROUTE, ROLLOUT])
async def test_who_has_the_answer_already_gets_304(site: Site, path: str) -> None:
    tag = await tag_of(site, path)
    async with site.session.get(site.url + path, headers={"If-None-Match": f'W/"x", {tag}'}) as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", tag)
    await site.ask("POST", f"{ROLLOUT}/pause")
    assert await status_of(site, "GET", path, **{"If-None-Match": tag}) == 200
    assert await status_of(site, "GET", path, **{"If-None-Match": "*"}) == 304
