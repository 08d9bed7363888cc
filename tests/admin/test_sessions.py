"""Sessions of browsers: login, what a session may do, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar, DummyCookieJar

from crossfade.admin.access import COOKIE, Access
from crossfade.admin.sessions import LASTS, MOST, Sessions
from crossfade.config.admin import AdminConfig
from tests.admin.site import Site, serving

ALICE, VERA = "a" * 20, "v" * 20
TOKENS: list[dict[str, str]] = [
    {"name": "alice", "role": "operator", "token": ALICE},
    {"name": "vera", "role": "viewer", "token": VERA},
]
SESSION = "/api/v1/session"
PAUSE = "/api/v1/rollouts/churn/pause"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.config = AdminConfig.model_validate({"tokens": TOKENS})

    def access(self) -> Access:
        return Access(lambda: self.config, now=lambda: self.now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def token_site(clock: Clock) -> AsyncIterator[Site]:
    async with serving(access=clock.access()) as site:
        yield site


class Browser:
    """With a jar of cookies; it sends the headers of a browser on a page of the dashboard."""

    def __init__(self, site: Site, session: ClientSession) -> None:
        self.site = site
        self.session = session

    async def ask(
        self, method: str, path: str, status: int, headers: dict[str, str] | None = None, **options: Any
    ) -> ClientResponse:
        sent = {"Sec-Fetch-Site": "same-origin"} if headers is None else headers
        if headers is None and method != "GET":
            sent["Origin"] = self.site.url
        response = await self.session.request(method, self.site.url + path, headers=sent, **options)
        assert response.status == status, await response.text()
        return response

    async def log_in(self, token: str) -> ClientResponse:
        return await self.ask("POST", SESSION, 200, json={"token": token})


@pytest.fixture
async def browser(token_site: Site) -> AsyncIterator[Browser]:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        yield Browser(token_site, session)


async def test_a_login_gives_name_role_and_a_cookie_that_no_script_reads(browser: Browser) -> None:
    response = await browser.log_in(ALICE)
    assert await response.json() == {"name": "alice", "role": "operator", "login": True}
    (cookie,) = response.headers.getall("Set-Cookie")
    assert cookie.startswith(f"{COOKIE}=")
    parts = {part.strip() for part in cookie.split(";")[1:]}
    assert parts == {"HttpOnly", f"Max-Age={int(LASTS)}", "Path=/", "SameSite=Strict"}
    assert ALICE not in cookie


async def test_behind_a_proxy_that_ends_tls_the_cookie_is_secure(token_site: Site) -> None:
    origin = {"Origin": token_site.url.replace("http:", "https:")}
    async with token_site.session.post(
        token_site.url + SESSION, json={"token": ALICE}, headers=origin
    ) as response:
        assert "Secure" in response.headers["Set-Cookie"]


async def test_a_session_stands_for_its_token(browser: Browser) -> None:
    await browser.ask("GET", SESSION, 401)
    await browser.ask("GET", "/api/v1/routes", 401)
    await browser.log_in(ALICE)
    assert (await (await browser.ask("GET", SESSION, 200)).json())["name"] == "alice"
    await browser.ask("GET", "/api/v1/routes", 200)
    await browser.ask("POST", PAUSE, 200)
    assert browser.site.harness.controller.views.rollout("churn", 0.0).phase == "paused"


async def test_the_actor_of_a_session_is_the_name_of_its_token(browser: Browser) -> None:
    await browser.log_in(ALICE)
    await browser.ask("POST", PAUSE, 200)
    actors = (await (await browser.ask("GET", "/api/v1/decisions", 200)).json())["decisions"]
    assert actors[-1]["actor"] == "alice"


async def test_a_viewer_reads_and_changes_nothing(browser: Browser) -> None:
    await browser.log_in(VERA)
    await browser.ask("GET", "/api/v1/status", 200)
    refused = await browser.ask("POST", PAUSE, 403)
    assert "vera has the role viewer" in (await refused.json())["detail"]


async def test_a_logout_ends_the_session_and_not_only_the_cookie(browser: Browser) -> None:
    response = await browser.log_in(ALICE)
    kept = {"Cookie": f"{COOKIE}={response.cookies[COOKIE].value}"}
    out = await browser.ask("DELETE", SESSION, 204)
    assert f'{COOKIE}=""' in out.headers["Set-Cookie"] and "Max-Age=0" in out.headers["Set-Cookie"]
    await browser.ask("GET", SESSION, 401)
    await browser.ask("GET", SESSION, 401, headers=kept)
    await browser.ask("DELETE", SESSION, 204)


async def test_a_session_ends_after_its_time(browser: Browser, clock: Clock) -> None:
    await browser.log_in(ALICE)
    clock.now += LASTS - 1
    await browser.ask("GET", SESSION, 200)
    clock.now += 1
    await browser.ask("GET", SESSION, 401)


@pytest.mark.parametrize(
    "tokens", [TOKENS[1:], [TOKENS[1], {**TOKENS[0], "token": "another-token-of-alice"}]]
)
async def test_a_session_ends_when_its_token_leaves_the_file(
    browser: Browser, clock: Clock, tokens: list[dict[str, str]]
) -> None:
    await browser.log_in(ALICE)
    before, clock.config = clock.config, AdminConfig.model_validate({"tokens": tokens})
    await browser.ask("GET", SESSION, 401)
    clock.config = before
    await browser.ask("GET", SESSION, 401)


async def test_the_role_is_that_of_the_file_now(browser: Browser, clock: Clock) -> None:
    await browser.log_in(ALICE)
    clock.config = AdminConfig.model_validate({"tokens": [{**TOKENS[0], "role": "viewer"}]})
    assert (await (await browser.ask("GET", SESSION, 200)).json())["role"] == "viewer"
    await browser.ask("POST", PAUSE, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_a_change_with_a_cookie_must_come_from_a_page_of_this_origin(
    browser: Browser, headers: dict[str, str]
) -> None:
    """A page on another port of this host is of the same site, so it gets the cookie along."""
    await browser.log_in(ALICE)
    await browser.ask("POST", PAUSE, 403, headers=headers)
    await browser.ask("DELETE", SESSION, 403, headers={"Origin": "http://127.0.0.1:1"})
    await browser.ask("GET", SESSION, 200)


@pytest.mark.parametrize("site_of_page", ["same-site", "cross-site"])
async def test_another_page_does_not_read_with_the_cookie(browser: Browser, site_of_page: str) -> None:
    await browser.log_in(ALICE)
    await browser.ask("GET", "/api/v1/routes", 403, headers={"Sec-Fetch-Site": site_of_page})
    await browser.ask("GET", "/", 200, headers={"Sec-Fetch-Site": site_of_page})


async def test_another_page_cannot_log_anybody_in(token_site: Site) -> None:
    headers = {"Origin": "http://evil.example"}
    await token_site.ask("POST", SESSION, 403, json={"token": VERA}, headers=headers)


async def test_a_wrong_bearer_is_not_made_good_by_a_cookie(browser: Browser) -> None:
    await browser.log_in(ALICE)
    headers = {"Sec-Fetch-Site": "same-origin", "Authorization": "Bearer wrong"}
    await browser.ask("GET", SESSION, 401, headers=headers)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"token": "wrong"}', 401),
        (b'{"token": ""}', 401),
        (b'{"token": "\\ud800"}', 400),
        (b'{"token": 1}', 422),
        (b'{"token": "x", "more": 1}', 422),
        (b"{}", 422),
        (b"[]", 422),
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
    ],
)
async def test_a_login_that_is_none(token_site: Site, body: bytes, status: int) -> None:
    async with token_site.session.post(token_site.url + SESSION, data=body) as response:
        assert response.status == status, await response.text()
        assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("cookie", ["", "x", "\udcff", "a" * 4000, '"', "a=b"])
async def test_a_cookie_that_is_no_session(token_site: Site, cookie: str) -> None:
    async with (
        ClientSession(cookie_jar=DummyCookieJar()) as session,
        session.get(token_site.url + SESSION, headers={"Cookie": f"{COOKIE}={cookie}"}) as response,
    ):
        assert response.status == 401


async def test_without_tokens_everybody_is_a_local_operator(site: Site) -> None:
    told = {"name": "local", "role": "operator", "login": False}
    assert await site.get(SESSION) == told
    assert await site.ask("POST", SESSION, json={"token": "whatever"}) == told
    assert not list(site.session.cookie_jar)


async def test_the_bearer_of_the_single_token_is_api() -> None:
    async with serving("s3cret") as site:
        headers = {"Authorization": "Bearer s3cret"}
        assert await site.get(SESSION, headers=headers) == {"name": "api", "role": "operator", "login": True}


def test_a_token_has_a_bounded_number_of_sessions() -> None:
    sessions = Sessions(lambda: 0.0)
    mine = [sessions.begin(b"mine") for _ in range(MOST + 1)]
    other = sessions.begin(b"other")
    assert sessions.token_of(mine[0]) is None
    assert {sessions.token_of(cookie) for cookie in mine[1:]} == {b"mine"}
    assert sessions.token_of(other) == b"other"
    assert len(sessions.held) == MOST + 1


def test_sessions_that_have_ended_are_forgotten() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    for _ in range(3):
        sessions.begin(b"mine")
    now[0] = LASTS
    sessions.begin(b"mine")
    assert len(sessions.held) == 1


def test_no_cookie_is_kept_as_it_is_or_given_twice() -> None:
    sessions = Sessions(lambda: 0.0)
    cookies = {sessions.begin(b"mine") for _ in range(MOST)}
    assert len(cookies) == MOST and min(map(len, cookies)) >= 43
    assert not {cookie.encode() for cookie in cookies} & set(sessions.held)
