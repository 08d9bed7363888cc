"""Trusted proxies over the wire: whom the proxy takes the client to be, and what it tells backends."""

from __future__ import annotations

import pytest

from crossfade.routing.ledger import new_ledger, salt_of
from tests.dataplane.plane import Harness, connecting_slowly, mirrored, route, sticky
from tests.dataplane.wire import Message, get, wait_until
from tests.ledgers import backend_of, bucket_of

SALT = salt_of("churn")
SPLIT = {"v2": 5000, "v3": 5000}
LEDGER = new_ledger(SPLIT, SALT)
CLIENTS = [f"203.0.113.{n}" for n in range(20)]


def owner(address: str) -> str:
    return backend_of(LEDGER, bucket_of(address.encode(), SALT))


def chain(request: Message) -> tuple[list[bytes], list[bytes], list[bytes], list[bytes]]:
    names = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded")
    a, b, c, d = (request.all(name) for name in names)
    return a, b, c, d


FORGED = [
    b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: shop.test",
    b"Forwarded: for=203.0.113.7;proto=https;host=shop.test", b"X_Forwarded_For: 203.0.113.7",
]  # fmt: skip
ALONE = ([b"127.0.0.1"], [b"http"], [b"models"], [b'for=127.0.0.1;proto=http;host="models"'])


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8", "::1/128")])
async def test_a_client_that_is_not_trusted_cannot_forge_them(
    harness: Harness, trusted: tuple[str, ...]
) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"), trusted_proxies=trusted)
    client = await harness.client()
    await client.send(get(fields=FORGED))
    await client.answer()
    assert chain(backend.requests[0]) == ALONE
    assert backend.requests[0].field("x_forwarded_for") is None


async def test_a_trusted_proxy_is_believed_and_added_to(harness: Harness) -> None:
    backend, copied = harness.backend("v2"), harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4")), trusted_proxies=("127.0.0.0/8",))
    client = await harness.client()
    await client.send(
        get(
            fields=[
                b"x-forwarded-for: 6.6.6.6, 203.0.113.7", b"X-Forwarded-Proto: https",
                b"X-Forwarded-Host: shop.test", b"Forwarded: for=6.6.6.6",
                b"Connection: x-forwarded-for, forwarded",
            ]
        )
    )  # fmt: skip
    await client.answer()
    await harness.quiet()
    for request in (backend.requests[0], copied.requests[0]):
        assert chain(request) == (
            [b"203.0.113.7, 127.0.0.1"],
            [b"https"],
            [b"shop.test"],
            [b'for=203.0.113.7;proto=https;host="shop.test", for=127.0.0.1;proto=http;host="models"'],
        )
        assert request.field("host") == b"models"


async def test_each_request_of_a_connection_has_a_client_of_its_own(harness: Harness) -> None:
    for name in SPLIT:
        harness.backend(name)
    harness.use(route(SPLIT, sticky=sticky("client_ip")), trusted_proxies=("127.0.0.1/32",))
    proxy = await harness.client()
    for address in CLIENTS:
        await proxy.send(get(fields=[f"X-Forwarded-For: {address}".encode()]))
        assert (await proxy.answer()).backend == owner(address)
    await proxy.send(get())  # nobody named: the proxy asks for itself
    assert (await proxy.answer()).backend == owner("127.0.0.1")


async def test_no_forged_address_moves_a_client_to_another_backend(harness: Harness) -> None:
    for name in SPLIT:
        harness.backend(name)
    harness.use(route(SPLIT, sticky=sticky("client_ip")))
    client = await harness.client()
    for address in CLIENTS:
        await client.send(get(fields=[f"X-Forwarded-For: {address}".encode()]))
        assert (await client.answer()).backend == owner("127.0.0.1")


async def test_a_reload_changes_whom_open_connections_believe(harness: Harness) -> None:
    backend = harness.backend("v2")
    client = await harness.client()
    for trusted, expected in (
        ((), b"127.0.0.1"),
        (("127.0.0.1/32",), b"203.0.113.7, 127.0.0.1"),
        ((), b"127.0.0.1"),
    ):
        harness.use(route("v2"), trusted_proxies=trusted)
        await client.send(get(fields=[b"X-Forwarded-For: 203.0.113.7"]))
        await client.answer()
        assert backend.requests[-1].all("x-forwarded-for") == [expected]


async def test_a_reload_leaves_requests_under_way_as_they_are(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"), trusted_proxies=("127.0.0.1/32",))
    opening = connecting_slowly(monkeypatch)
    client = await harness.client()
    await client.send(get(fields=[b"X-Forwarded-For: 203.0.113.7"]))
    await wait_until(lambda: harness.plane.active, "the exchange is under way")
    harness.use(route("v2"), trusted_proxies=("127.0.0.1/32", "10.0.0.0/8"))
    opening.set()
    await client.answer()
    assert backend.requests[0].all("x-forwarded-for") == [b"203.0.113.7, 127.0.0.1"]
