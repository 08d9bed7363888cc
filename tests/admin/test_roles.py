"""Tokens with names and roles: what each may do, and what the journal has of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from crossfade.admin.access import Access
from crossfade.admin.roles import Role
from crossfade.config.admin import AdminConfig
from tests.admin.site import Site, serving

TOKENS = {name: f"{name}-has-a-long-token" for name in ("alice", "vera", "labels")}
ROLES = {"alice": "operator", "vera": "viewer", "labels": "feedback"}
READS = (
    "/metrics",
    "/openapi.json",
    "/api/v1/status",
    "/api/v1/routes/churn",
    "/api/v1/decisions",
    "/nothing",
)
CHANGES = (
    ("POST", "/api/v1/rollouts/churn/pause"),
    ("PUT", "/api/v1/routes/churn/split"),
    ("POST", "/api/v1/reload"),
    ("POST", "/api/v1/backends/v2/endpoints/x/drain"),
    ("DELETE", "/api/v1/routes/churn"),
)


def config(*names: str, token: str = "") -> AdminConfig:
    tokens = [{"name": name, "role": ROLES[name], "token": TOKENS[name]} for name in names]
    return AdminConfig.model_validate({"token": token, "tokens": tokens})


@pytest.fixture
async def team(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    known = config(*TOKENS, token="the-single-token")
    async with serving(access=Access(lambda: known)) as site:
        yield site


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS.get(name, name)}"}


async def status_of(site: Site, method: str, path: str, name: str, data: bytes = b"") -> int:
    headers = bearer(name) | ({"Content-Type": "application/json"} if data.startswith(b"[") else {})
    async with site.session.request(method, site.url + path, headers=headers, data=data) as response:
        return response.status


async def test_a_viewer_may_read_all_and_change_nothing(team: Site) -> None:
    for path in READS:
        assert await status_of(team, "GET", path, "vera") in (200, 404)
        assert await status_of(team, "HEAD", path, "vera") in (200, 404)
    for method, path in CHANGES:
        assert await status_of(team, method, path, "vera") == 403, path
    assert await status_of(team, "POST", "/api/v1/feedback", "vera", b"[]") == 403


async def test_a_viewer_may_check_a_configuration(team: Site) -> None:
    assert await status_of(team, "POST", "/api/v1/config", "vera", team.reloads.file.encode()) == 200


async def test_who_sends_feedback_may_do_that_alone(team: Site) -> None:
    assert await status_of(team, "POST", "/api/v1/feedback", "labels", b"[]") == 202
    for path in READS:
        assert await status_of(team, "GET", path, "labels") == 403
    for method, path in CHANGES:
        assert await status_of(team, method, path, "labels") == 403
    assert await status_of(team, "GET", "/api/v1/session", "labels") == 200


@pytest.mark.parametrize("name", ["alice", "the-single-token"])
async def test_an_operator_may_do_all(team: Site, name: str) -> None:
    for path in READS:
        assert await status_of(team, "GET", path, name) in (200, 404)
    for method, path in CHANGES:
        assert await status_of(team, method, path, name) not in (401, 403), path
    assert await status_of(team, "POST", "/api/v1/feedback", name, b"[]") == 202


@pytest.mark.parametrize(
    ("who", "given", "actor"),
    [
        ("alice", None, "alice"),
        ("alice", "ci-17", "alice (ci-17)"),
        ("alice", "loop", "alice (loop)"),
        ("alice", ") x (", "alice (x)"),
        ("the-single-token", None, "api"),
        ("the-single-token", "alice", "api:alice"),
    ],
)
async def test_the_actor_is_the_name_of_the_token(
    team: Site, who: str, given: str | None, actor: str
) -> None:
    """A header may add to the name, and never replace it."""
    headers = bearer(who) | ({"X-Crossfade-Actor": given} if given else {})
    await team.ask("POST", "/api/v1/rollouts/churn/pause", headers=headers)
    decisions = (await team.get("/api/v1/decisions", headers=bearer(who)))["decisions"]
    assert decisions[-1]["actor"] == actor


async def test_a_reload_that_leaves_no_token_does_not_open_what_others_reach() -> None:
    now = [config("alice")]
    async with serving(access=Access(lambda: now[0], is_local=False)) as site:
        now[0] = config()
        await site.get("/api/v1/routes", 401)
        await site.get("/api/v1/routes", headers=bearer("alice"))
        now[0] = config("vera")
        await site.get("/api/v1/routes", 401, headers=bearer("alice"))
        await site.get("/api/v1/routes", headers=bearer("vera"))


async def test_tokens_of_a_reload_act_at_once() -> None:
    now = [config()]
    async with serving(access=Access(lambda: now[0])) as site:
        await site.get("/api/v1/routes")
        now[0] = config("alice")
        await site.get("/api/v1/routes", 401)
        await site.get("/api/v1/routes", headers=bearer("alice"))
        now[0] = config()
        await site.get("/api/v1/routes")


async def test_one_token_of_two_callers_is_that_of_the_first(caplog: pytest.LogCaptureFixture) -> None:
    """Variables may have the same value; no rule sees that."""
    both = AdminConfig.model_validate(
        {
            "tokens": [
                {"name": name, "role": ROLES[name], "token": "one-and-the-same"} for name in ("vera", "alice")
            ]
        }
    )
    async with serving(access=Access(lambda: both)) as site:
        headers = {"Authorization": "Bearer one-and-the-same"}
        assert (await site.get("/api/v1/session", headers=headers))["name"] == "vera"
    assert "the token of alice is that of another one" in caplog.text


def test_what_each_role_allows() -> None:
    allowed = {role: {needed for needed in Role if role.allows(needed)} for role in Role}
    assert allowed == {
        Role.OPEN: {Role.OPEN},
        Role.VIEWER: {Role.OPEN, Role.VIEWER},
        Role.FEEDBACK: {Role.OPEN, Role.FEEDBACK},
        Role.OPERATOR: set(Role),
    }
