"""Wrong tokens: they are counted and slowed, and nobody is locked out by others."""

from __future__ import annotations

import re
from typing import Any

import pytest

from crossfade.admin.access import Access
from crossfade.admin.failures import BURST, MOST, NOTE_EVERY, REGAIN, Failure, Failures, source_of
from crossfade.config.admin import AdminConfig
from tests.admin.site import Site, serving

LONG, SHORT = "a-token-that-is-long", "short"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def access(clock: Clock, token: str) -> Access:
    config = AdminConfig(token=token)
    return Access(lambda: config, now=clock)


async def attempt(site: Site, token: str, status: int) -> dict[str, Any]:
    return dict(await site.get("/api/v1/routes", status, headers={"Authorization": f"Bearer {token}"}))


async def test_after_many_wrong_tokens_an_address_gets_429() -> None:
    clock = Clock()
    async with serving(access=access(clock, LONG)) as site:
        for _ in range(BURST):
            await attempt(site, "wrong", 401)
        headers = {"Authorization": "Bearer wrong"}
        async with site.session.get(site.url + "/api/v1/routes", headers=headers) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, str(int(REGAIN)))
        await site.ask("POST", "/api/v1/session", 429, json={"token": "wrong"})
        clock.now += REGAIN
        await attempt(site, "wrong", 401)
        await attempt(site, "wrong", 429)
        clock.now += BURST * REGAIN
        for _ in range(BURST):
            await attempt(site, "wrong", 401)


async def test_a_long_token_gets_in_whatever_others_at_its_address_do() -> None:
    async with serving(access=access(Clock(), LONG)) as site:
        for _ in range(BURST + 5):
            async with site.session.get(site.url + "/metrics", headers={"Authorization": "Bearer x"}):
                pass
        assert site.access.failures.counts == {Failure.TOKEN: BURST, Failure.THROTTLED: 5}
        await site.get("/api/v1/routes", headers={"Authorization": f"Bearer {LONG}"})
        assert (await site.ask("POST", "/api/v1/session", json={"token": LONG}))["name"] == "api"


async def test_a_short_token_is_not_even_looked_at_meanwhile() -> None:
    """Else the one right guess of a million would be answered as soon as it comes."""
    clock = Clock()
    async with serving(access=access(clock, SHORT)) as site:
        await attempt(site, SHORT, 200)
        for _ in range(BURST):
            await attempt(site, "wrong", 401)
        await attempt(site, SHORT, 429)
        clock.now += REGAIN
        await attempt(site, SHORT, 200)


async def test_who_forgets_the_token_or_has_an_old_session_is_not_slowed() -> None:
    """A dashboard that is left open asks every few seconds."""
    async with serving(access=access(Clock(), LONG)) as site:
        for _ in range(BURST + 1):
            await site.get("/api/v1/status", 401)
            await site.get("/api/v1/status", 401, headers={"Cookie": "crossfade_session=old"})
        await attempt(site, "wrong", 401)


async def test_failures_are_counted_by_reason() -> None:
    async with serving(access=access(Clock(), LONG)) as site:
        right = {"Authorization": f"Bearer {LONG}"}
        await site.get("/metrics", 401)
        await site.get("/metrics", 401, headers={"Cookie": "crossfade_session=x"})
        await attempt(site, "wrong", 401)
        await site.get("/api/v1/routes", 403, headers={"Origin": "http://evil.example", **right})
        async with site.session.get(site.url + "/metrics", headers=right) as response:
            page = await response.text()
        found = dict(re.findall(r'auth_failures_total\{reason="(\w+)"\} ([0-9.]+)', page))
        assert found == {
            "missing": "1.0", "session": "1.0", "token": "1.0", "origin": "1.0",
            "throttled": "0.0", "role": "0.0", "host": "0.0",
        }  # fmt: skip


def test_addresses_do_not_slow_each_other() -> None:
    failures = Failures(lambda: 0.0)
    for _ in range(BURST):
        assert failures.wait("a") == 0
        failures.fail("a")
    assert failures.wait("a") == REGAIN
    assert failures.wait("b") == 0


def test_an_allowance_is_whole_after_a_while_and_never_larger() -> None:
    clock = Clock()
    failures = Failures(clock)
    failures.fail("a")
    clock.now += 1000 * REGAIN
    for _ in range(BURST):
        assert failures.wait("a") == 0
        failures.fail("a")
    assert failures.wait("a") == REGAIN


def test_the_addresses_that_are_kept_are_bounded() -> None:
    failures = Failures(lambda: 0.0)
    for n in range(MOST + 100):
        failures.fail(str(n))
    assert len(failures.spent) == MOST
    assert "0" not in failures.spent and str(MOST + 99) in failures.spent


def test_the_log_names_an_address_and_is_not_filled(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    failures = Failures(clock)
    for address in ("192.0.2.1", "192.0.2.2"):
        for _ in range(BURST):
            failures.fail(address)
    assert caplog.text.count("wrong tokens from") == 1 and "192.0.2.1;" in caplog.text
    clock.now += NOTE_EVERY
    failures.fail("192.0.2.2")
    assert "192.0.2.2;" in caplog.text


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        (("192.0.2.1", 1234), "192.0.2.1"),
        (("2001:db8::1", 1, 0, 0), "2001:db8::/64"),
        (("2001:db8::ffff:1", 1, 0, 0), "2001:db8::/64"),
        (("2001:db8:0:1::1", 1, 0, 0), "2001:db8:0:1::/64"),
        (("::ffff:192.0.2.1", 1, 0, 0), "192.0.2.1"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
        ("", "a local socket"),
        (None, "a local socket"),
        (b"", "a local socket"),
    ],
)
def test_the_source_of_an_attempt(peer: object, source: str) -> None:
    assert source_of(peer) == source
