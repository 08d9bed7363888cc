"""Rate limits: a refused request gets 429 with Retry-After. It reaches no backend and counts for none."""

from __future__ import annotations

import json

import pytest

from crossfade.routing.snapshot import Rate, Sticky
from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.wire import get, post, wait_until

IP = Sticky("client_ip")
KEY = Sticky("header", "X-Key")
SLOW = 0.01  # requests per second: no token is added during a test


def keyed(key: str) -> bytes:
    return get(fields=[f"X-Key: {key}".encode()])


async def test_requests_over_the_burst_get_429(harness: Harness) -> None:
    backend, mirror = harness.backend("v2"), harness.backend("v4")
    harness.use(route("v2", rate=Rate(IP, SLOW, 3), mirrors=mirrored("v4")))
    client = await harness.client()
    answers = []
    for _ in range(5):
        await client.send(get())
        answers.append(await client.answer())
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    refused = answers[-1]
    assert refused.error == b"internal/rate"
    assert refused.backend == ""
    assert 90 < int(refused.field("retry-after") or b"") <= 100
    assert json.loads(refused.body)["detail"] == "The rate limit is exceeded."
    await harness.quiet()
    assert (len(backend.requests), len(mirror.requests)) == (3, 3)
    cell = await harness.cell("v2")
    assert (cell.requests, cell.errors, cell.codes, cell.failures) == (3, 0, {200: 3}, {})
    assert harness.plane.recorder.table.refused == {"429:rate": 2}


async def test_tokens_are_added_at_the_configured_rate(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", rate=Rate(IP, 50, 1)))
    client = await harness.client()
    statuses = []

    async def is_refilled() -> bool:
        await client.send(get())
        answer = await client.answer()
        statuses.append(answer.status)
        if answer.status == 429:
            assert answer.field("retry-after") == b"1"
        return statuses.count(200) == 3 and 429 in statuses

    while not await is_refilled():
        pass
    assert set(statuses) == {200, 429}


async def test_each_key_has_its_own_bucket(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", rate=Rate(KEY, SLOW, 1)))
    client = await harness.client()
    statuses = []
    for key in ("a", "b", "a", "b"):
        await client.send(keyed(key))
        statuses.append((await client.answer()).status)
    assert statuses == [200, 200, 429, 429]


async def test_a_request_without_the_key_uses_the_bucket_of_its_client_address(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", rate=Rate(KEY, SLOW, 1)), trusted_proxies=("127.0.0.1/32",))
    client = await harness.client()
    statuses = []
    for fields in (
        [], [], [b"X-Key: 127.0.0.1"], [b"X-Forwarded-For: 203.0.113.7"], [b"X-Forwarded-For: 203.0.113.7"],
    ):  # fmt: skip
        await client.send(get(fields=fields))
        statuses.append((await client.answer()).status)
    assert statuses == [200, 429, 200, 200, 429]


async def test_ipv6_clients_of_one_network_share_a_bucket(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", rate=Rate(IP, SLOW, 1)), trusted_proxies=("127.0.0.1/32",))
    client = await harness.client()
    statuses = []
    for address in (b"2001:db8:0:1::1", b"2001:db8:0:1::2", b"2001:db8:0:2::1"):
        await client.send(get(fields=[b"X-Forwarded-For: " + address]))
        statuses.append((await client.answer()).status)
    assert statuses == [200, 429, 200]


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1/32",)])
async def test_a_forged_forwarded_address_gives_no_new_bucket(
    harness: Harness, trusted: tuple[str, ...]
) -> None:
    harness.backend("v2")
    harness.use(route("v2", rate=Rate(IP, SLOW, 1)), trusted_proxies=trusted)
    client = await harness.client()
    statuses = []
    for n in range(4):
        forged = b"X-Forwarded-For: 6.6.6.%d%b" % (n, b", 203.0.113.7" if trusted else b"")
        await client.send(get(fields=[forged]))
        statuses.append((await client.answer()).status)
    assert statuses == [200, 429, 429, 429]


async def test_the_key_can_be_a_json_field_of_the_body(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", rate=Rate(Sticky("json", "user.id"), SLOW, 1)))
    client = await harness.client()
    statuses = []
    for user in ("1", '"1"', "1.0", "2"):
        await client.send(post(b'{"user": {"id": %b}}' % user.encode()))
        statuses.append((await client.answer()).status)
    assert statuses == [200, 429, 429, 200]


async def test_an_upload_is_refused_before_it_is_complete(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", rate=Rate(IP, SLOW, 1)))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).status == 200
    await client.send(b"POST / HTTP/1.1\r\nHost: models\r\nContent-Length: 1000000\r\n\r\nfirst")
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (429, b"close")
    assert await client.rest() == (b"", "closed")


async def test_a_reload_keeps_the_used_tokens(harness: Harness) -> None:
    harness.backend("v2")
    client = await harness.client()
    for burst, status in ((2, 200), (2, 200), (2, 429), (3, 200), (3, 429)):
        harness.use(route("v2", rate=Rate(IP, SLOW, burst)))
        await client.send(get())
        assert (await client.answer()).status == status


async def test_a_flood_of_one_key_is_refused_and_other_keys_are_served(harness: Harness) -> None:
    """Requests over the limit are refused at once. A client within its limit is served during the flood."""
    harness.backend("v2")
    harness.use(route("v2", rate=Rate(KEY, SLOW, 20)))
    flood = [await harness.client() for _ in range(8)]
    for client in flood:
        await client.send(keyed("flooding") * 50)
    within_limit = await harness.client()
    for _ in range(20):
        await within_limit.send(keyed("within_limit"))
        assert (await within_limit.answer()).status == 200
    statuses = [(await client.answer()).status for client in flood for _ in range(50)]
    assert (statuses.count(200), statuses.count(429)) == (20, 380)
    await wait_until(lambda: not harness.plane.active)
