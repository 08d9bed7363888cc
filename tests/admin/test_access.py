"""Access to the admin API: the token, DNS rebinding, other origins; and the actor's name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from multidict import CIMultiDict

from crossfade.admin.access import is_unspoofable
from tests.admin.site import Site, serving

TOKEN = "s3cret-tökén"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OPEN = ["/healthz", "/readyz", "/"]
GUARDED = ["/metrics", "/openapi.json", "/api/v1/routes", "/api/v1/events", "/nothing/here"]


@pytest.fixture
async def token_site() -> AsyncIterator[Site]:
    async with serving(TOKEN) as site:
        yield site


async def status_of(site: Site, path: str, headers: dict[str, str]) -> int:
    async with site.session.get(site.url + path, headers=headers) as response:
        return response.status


@pytest.mark.parametrize("path", OPEN)
async def test_probes_and_the_page_need_no_token(token_site: Site, path: str) -> None:
    assert await status_of(token_site, path, {}) == 200


@pytest.mark.parametrize("path", GUARDED)
async def test_other_paths_need_the_token(token_site: Site, path: str) -> None:
    assert (await token_site.get(path, 401))["title"] == "Unauthorized"


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \udcff"],
)
async def test_other_credentials_are_refused(token_site: Site, given: str) -> None:
    async with token_site.session.get(
        token_site.url + "/metrics", headers={"Authorization": given}
    ) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_the_token_gives_access(token_site: Site) -> None:
    assert await status_of(token_site, "/api/v1/routes", BEARER) == 200
    assert await status_of(token_site, "/api/v1/routes", {"Authorization": f"bearer  {TOKEN}"}) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9901",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "a b",
        "[",
        "x@127.0.0.1",
        "0",
    ],
)
async def test_a_host_name_is_refused_without_a_token(site: Site, host: str) -> None:
    problem = await site.get("/api/v1/routes", 403, headers={"Host": host})
    assert "admin.token" in problem["detail"]
    assert await status_of(site, "/healthz", {"Host": host}) == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9901", "127.0.0.1", "[::1]:9901", "10.1.2.3:80"])
async def test_an_address_is_accepted_without_a_token(site: Site, host: str) -> None:
    assert is_unspoofable(host)
    assert await status_of(site, "/api/v1/routes", {"Host": host}) == 200


async def test_with_a_token_any_host_is_accepted(token_site: Site) -> None:
    assert await status_of(token_site, "/api/v1/routes", {"Host": "admin.example", **BEARER}) == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1:1", "http://[", "file://"],
)
async def test_a_page_of_another_origin_is_refused(token_site: Site, origin: str) -> None:
    published = len(token_site.harness.seam.published)
    headers = {"Origin": origin, **BEARER}
    await token_site.ask("POST", "/api/v1/rollouts/churn/promote", 403, headers=headers)
    assert len(token_site.harness.seam.published) == published


async def test_an_empty_host_is_nobodys_origin(site: Site) -> None:
    """A sandboxed page sends null."""
    for headers in ({"Origin": "null", "Host": ""}, {"Origin": "://", "Host": ""}):
        await site.ask("POST", "/api/v1/rollouts/churn/pause", 403, headers=headers)


@pytest.mark.parametrize("foreign_first", [True, False])
async def test_each_of_several_origins_counts(site: Site, foreign_first: bool) -> None:
    origins = ["http://evil.example", site.url][:: 1 if foreign_first else -1]
    headers = CIMultiDict([("Origin", origin) for origin in origins])
    await site.ask("POST", "/api/v1/rollouts/churn/pause", 403, headers=headers)


@pytest.mark.parametrize("site_of_page", ["cross-site", "same-site", "nonsense"])
async def test_a_change_from_a_page_of_another_site_is_refused(token_site: Site, site_of_page: str) -> None:
    """A link to the dashboard from another page is a request from another site too."""
    headers = {"Sec-Fetch-Site": site_of_page, **BEARER}
    await token_site.ask("POST", "/api/v1/rollouts/churn/promote", 403, headers=headers)
    assert await status_of(token_site, "/", headers) == 200


@pytest.mark.parametrize("site_of_page", ["same-origin", "none"])
async def test_the_dashboard_may_change_something(site: Site, site_of_page: str) -> None:
    headers = {"Sec-Fetch-Site": site_of_page}
    await site.ask("POST", "/api/v1/rollouts/churn/pause", headers=headers)


async def test_its_own_origin_is_accepted(site: Site) -> None:
    headers = {"Origin": site.url}
    assert (await site.ask("POST", "/api/v1/rollouts/churn/pause", headers=headers))["phase"] == "paused"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, "api"),
        ("anna", "api:anna"),
        ("anna@example.com", "api:anna@example.com"),
        ("loop", "api:loop"),
        ("<b>x</b>", "api:b_x_b"),
        ("\u00fc", "api"),
        ("x" * 100, "api:" + "x" * 64),
    ],
)
async def test_the_actor_is_kept_in_safe_characters(site: Site, given: str | None, kept: str) -> None:
    headers = {"X-Crossfade-Actor": given} if given else {}
    await site.ask("POST", "/api/v1/rollouts/churn/pause", headers=headers)
    assert (await site.actors())[-1] == kept
