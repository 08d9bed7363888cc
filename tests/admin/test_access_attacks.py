"""Who may call each operation of the table, and ways around that which were tried."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from multidict import CIMultiDict
from yarl import URL

from crossfade.admin.access import Access
from crossfade.admin.operation import Operation
from crossfade.admin.operations import OPERATIONS
from crossfade.admin.roles import Role
from crossfade.config.admin import AdminConfig
from tests.admin.site import Site, serving

TOKENS: dict[Role, str] = {role: f"the-token-of-the-{role}" for role in Role if role is not Role.OPEN}
RELOAD = "/api/v1/reload"


@pytest.fixture
async def team() -> AsyncIterator[Site]:
    tokens = [{"name": f"a-{role}", "role": role.value, "token": token} for role, token in TOKENS.items()]
    config = AdminConfig.model_validate({"tokens": tokens})
    async with serving(access=Access(lambda: config)) as site:
        yield site


def path_of(operation: Operation) -> str:
    """With some value for each parameter."""
    return re.sub(
        r"{\w+(?::([^}|]*)[^}]*)?}",
        lambda found: found[1] if found[1] and found[1].isalpha() else "x",
        operation.path,
    )


async def status_of(site: Site, method: str, path: str, **headers: str) -> int:
    url = URL(site.url + path, encoded=True)
    async with site.session.request(method, url, headers=headers) as response:
        return response.status


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.method} {each.path}")
async def test_each_operation_is_for_those_of_its_role(team: Site, operation: Operation) -> None:
    path = path_of(operation)
    nobody = await status_of(team, operation.method, path)
    assert (nobody == 401) == (
        operation.role is not Role.OPEN or (operation.method, path) == ("GET", "/api/v1/session")
    )
    needed = {operation.role: path} | {
        role: f"{path}?{parameter}=true" for parameter, role in operation.role_with.items()
    }
    for need, asked in needed.items():
        for role, token in TOKENS.items():
            status = await status_of(team, operation.method, asked, Authorization=f"Bearer {token}")
            assert status != 401
            assert (status == 403) == (not role.allows(need)), (role, asked)


def test_what_changes_something_is_for_operators() -> None:
    """But for feedback, and for what says only what would be."""
    lesser = {
        (each.method, each.path)
        for each in OPERATIONS
        if each.method not in ("GET", "HEAD") and each.role is not Role.OPERATOR
    }
    assert lesser == {
        ("POST", "/api/v1/feedback"),
        ("POST", "/api/v1/config"),
        ("POST", "/api/v1/explain"),
        ("POST", "/api/v1/session"),
        ("DELETE", "/api/v1/session"),
    }
    opened = {each.path for each in OPERATIONS if each.role is Role.OPEN}
    assert opened == {"/", "/static/{file:.+}", "/healthz", "/readyz", "/api/v1/session"}


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/reload", "/api/v1//reload", "/api/v1/reload/", "/API/v1/reload", "/api/v1/%72eload", "/api/v1/reload;x",
        "/static/../api/v1/reload", "/static/%2e%2e/api/v1/reload", "/static/..%2fapi/v1/reload", "/healthz/../api/v1/reload",
        "/%2e/api/v1/reload", "/api/v1/session/../reload", "/api/v1/reload?x=/healthz", "/api/v1/reload?token=the-token-of-the-operator",
        "/api/v1/reload#/healthz", "/healthz%00/api/v1/reload", "/api/v1/reload%3Fx",
    ],
)  # fmt: skip
async def test_no_other_spelling_of_a_path_goes_past_the_guard(team: Site, path: str) -> None:
    async with team.session.post(URL(team.url + path, encoded=True)) as response:
        assert response.status in (400, 401, 404, 405), await response.text()
    assert team.reloads.actors == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "GET"},
        {"X-Original-URL": "/healthz"},
        {"X-Rewrite-URL": "/healthz"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Crossfade-Actor": "a-operator"},
        {"Proxy-Authorization": f"Bearer {TOKENS[Role.OPERATOR]}"},
        {"Cookie": f"token={TOKENS[Role.OPERATOR]}"},
        {"Cookie": f"crossfade_session={TOKENS[Role.OPERATOR]}"},
        {"Authorization": f"Basic {TOKENS[Role.OPERATOR]}"},
        {"Authorization": f"Bearer {TOKENS[Role.OPERATOR]}, x"},
    ],
)
async def test_no_other_header_stands_for_a_token(team: Site, headers: dict[str, str]) -> None:
    assert await status_of(team, "POST", RELOAD, **headers) == 401
    assert team.reloads.actors == []


async def test_of_two_tokens_the_first_counts(team: Site) -> None:
    for given, status in (((Role.VIEWER, Role.OPERATOR), 403), ((Role.OPERATOR, Role.VIEWER), 200)):
        headers = CIMultiDict([("Authorization", f"Bearer {TOKENS[role]}") for role in given])
        await team.ask("POST", RELOAD, status, headers=headers)


@pytest.mark.parametrize(
    "query", ["preview=true&preview=false", "preview=True", "preview=1", "preview", "apply=true&apply=false"]
)
async def test_a_parameter_that_is_meant_to_mislead_the_guard_does_nothing(team: Site, query: str) -> None:
    headers = {"Authorization": f"Bearer {TOKENS[Role.VIEWER]}"}
    for path in ("/api/v1/rollouts/churn/promote", "/api/v1/config"):
        status = await status_of(team, "POST", f"{path}?{query}", **headers)
        assert status in (403, 422), (path, status)
    operator = {"Authorization": f"Bearer {TOKENS[Role.OPERATOR]}"}
    decisions = (await team.get("/api/v1/decisions", headers=operator))["decisions"]
    assert "promote" not in {each["action"] for each in decisions}


async def test_the_token_of_the_process_itself_reads_alone(team: Site) -> None:
    """Its commands get it in their environment; it is in no file."""
    headers = {"Authorization": f"Bearer {team.access.own_token}"}
    await team.get("/api/v1/status", headers=headers)
    await team.ask("POST", RELOAD, 403, headers=headers)
    async with serving(access=Access(lambda: AdminConfig(token="0123456789abcdef"))) as other:
        await other.get("/api/v1/status", 401, headers=headers)
