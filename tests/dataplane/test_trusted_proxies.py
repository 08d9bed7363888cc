"""Trusted proxies over the wire: which client address the proxy uses, and which fields it sends to backends."""

from __future__ import annotations

import pytest

from crossfade.routing.ledger import new_ledger, salt_of
from crossfade.routing.snapshot import Rate, Sticky
from tests.dataplane.plane import Harness, connecting_slowly, mirrored, route, sticky
from tests.dataplane.wire import Message, get, wait_until
from tests.ledgers import backend_of, bucket_of

SALT = salt_of("churn")
SPLIT = {"v2": 5000, "v3": 5000}
LEDGER = new_ledger(SPLIT, SALT)
CLIENTS = [f"203.0.113.{n}" for n in range(20)]


def expected_backend(address: str) -> str:
    return backend_of(LEDGER, bucket_of(address.encode(), SALT))


def forwarding_fields(request: Message) -> tuple[list[bytes], list[bytes], list[bytes], list[bytes]]:
    names = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded")
    a, b, c, d = (request.all(name) for name in names)
    return a, b, c, d


FORGED_FIELDS = [
    b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: shop.test",
    b"Forwarded: for=203.0.113.7;proto=https;host=shop.test", b"X_Forwarded_For: 203.0.113.7",
]  # fmt: skip
OWN_FIELDS = ([b"127.0.0.1"], [b"http"], [b"models"], [b'for=127.0.0.1;proto=http;host="models"'])


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8", "::1/128")])
async def test_an_untrusted_client_cannot_forge_forwarding_fields(
    harness: Harness, trusted: tuple[str, ...]
) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"), trusted_proxies=trusted)
    client = await harness.client()
    await client.send(get(fields=FORGED_FIELDS))
    await client.answer()
    assert forwarding_fields(backend.requests[0]) == OWN_FIELDS
    assert backend.requests[0].field("x_forwarded_for") is None


async def test_the_fields_of_a_trusted_proxy_are_kept_and_its_address_is_appended(harness: Harness) -> None:
    backend, shadow = harness.backend("v2"), harness.backend("v4")
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
    for request in (backend.requests[0], shadow.requests[0]):
        assert forwarding_fields(request) == (
            [b"203.0.113.7, 127.0.0.1"],
            [b"https"],
            [b"shop.test"],
            [b'for=203.0.113.7;proto=https;host="shop.test", for=127.0.0.1;proto=http;host="models"'],
        )
        assert request.field("host") == b"models"


async def test_each_request_of_a_trusted_connection_has_its_own_client_address(harness: Harness) -> None:
    for name in SPLIT:
        harness.backend(name)
    harness.use(route(SPLIT, sticky=sticky("client_ip")), trusted_proxies=("127.0.0.1/32",))
    proxy = await harness.client()
    for address in CLIENTS:
        await proxy.send(get(fields=[f"X-Forwarded-For: {address}".encode()]))
        assert (await proxy.answer()).backend == expected_backend(address)
    await proxy.send(get())  # no client is named, so the address is the trusted proxy's own
    assert (await proxy.answer()).backend == expected_backend("127.0.0.1")


async def test_a_forged_address_does_not_change_the_backend_of_a_client(harness: Harness) -> None:
    for name in SPLIT:
        harness.backend(name)
    harness.use(route(SPLIT, sticky=sticky("client_ip")))
    client = await harness.client()
    for address in CLIENTS:
        await client.send(get(fields=[f"X-Forwarded-For: {address}".encode()]))
        assert (await client.answer()).backend == expected_backend("127.0.0.1")


async def test_a_reload_changes_the_trusted_proxies_of_open_connections(harness: Harness) -> None:
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


async def test_a_reload_does_not_change_requests_in_flight(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"), trusted_proxies=("127.0.0.1/32",))
    opening = connecting_slowly(monkeypatch)
    client = await harness.client()
    await client.send(get(fields=[b"X-Forwarded-For: 203.0.113.7"]))
    await wait_until(lambda: harness.plane.active, "the exchange is in flight")
    harness.use(route("v2"), trusted_proxies=("127.0.0.1/32", "10.0.0.0/8"))
    opening.set()
    await client.answer()
    assert backend.requests[0].all("x-forwarded-for") == [b"203.0.113.7, 127.0.0.1"]


CLAIMS = ("x-real-ip", "x-client-cert")
CLAIMING = [b"X-Real-IP: 6.6.6.6", b"X_Real_IP: 6.6.6.6", b"X-Client-Cert: forged", b"X-Kept: 1"]


def claims(request: Message) -> list[tuple[bytes, bytes]]:
    names = {b"x-real-ip", b"x_real_ip", b"x-client-cert", b"x_client_cert", b"x-kept"}
    return sorted((name.lower(), value) for name, value in request.fields if name.lower() in names)


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    ("headers", "trusted", "kept"),
    [
        (CLAIMS, (), [(b"x-kept", b"1")]),
        (CLAIMS, ("10.0.0.0/8",), [(b"x-kept", b"1")]),
        (CLAIMS, ("127.0.0.1/32",), [(b"x-client-cert", b"forged"), (b"x-kept", b"1"), (b"x-real-ip", b"6.6.6.6")]),
        (("x-client-cert",), (), [(b"x-kept", b"1"), (b"x-real-ip", b"6.6.6.6"), (b"x_real_ip", b"6.6.6.6")]),
    ],
)  # fmt: skip
async def test_fields_about_the_client_come_from_trusted_proxies_only(
    harness: Harness,
    headers: tuple[str, ...],
    trusted: tuple[str, ...],
    kept: list[tuple[bytes, bytes]],
    bytewise: bool,
) -> None:
    backend, shadow = harness.backend("v2"), harness.backend("v4")
    harness.use(route("v2", mirrors=mirrored("v4")), trusted_proxies=trusted, trusted_headers=headers)
    client = await harness.client()
    raw = get(fields=CLAIMING)
    for _ in range(2):  # parsed, and from the memory of lines
        await (client.send_bytewise(raw) if bytewise else client.send(raw))
        await client.answer()
    await harness.quiet()
    assert [claims(request) for request in (*backend.requests, *shadow.requests)] == [kept] * 4


async def test_nobody_can_nominate_a_trusted_field_away(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"), trusted_proxies=("127.0.0.1/32",), trusted_headers=CLAIMS)
    client = await harness.client()
    await client.send(get(fields=[b"Connection: x-real-ip, x-kept", *CLAIMING]))
    await client.answer()
    assert claims(backend.requests[0]) == [(b"x-client-cert", b"forged"), (b"x-real-ip", b"6.6.6.6")]


async def test_an_edit_of_the_trusted_fields_acts_on_the_next_request(harness: Harness) -> None:
    backend = harness.backend("v2")
    client = await harness.client()
    for headers in ((), CLAIMS, ()):
        harness.use(route("v2"), trusted_headers=headers)
        await client.send(get(fields=[b"X-Real-IP: 6.6.6.6"]))
        await client.answer()
    assert [request.all("x-real-ip") for request in backend.requests] == [[b"6.6.6.6"], [], [b"6.6.6.6"]]


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1/32",)])
async def test_a_rate_key_among_the_trusted_fields_cannot_be_forged(
    harness: Harness, trusted: tuple[str, ...]
) -> None:
    """A client that sends another value each time stays in the bucket of its address."""
    harness.backend("v2")
    key = Rate(Sticky("header", "x-real-ip"), 0.001, 1)
    harness.use(route("v2", rate=key), trusted_proxies=trusted, trusted_headers=CLAIMS)
    client = await harness.client()
    statuses = []
    for n in range(3):
        await client.send(get(fields=[b"X-Real-IP: 6.6.6.%d" % n]))
        statuses.append((await client.answer()).status)
    assert statuses == ([200, 200, 200] if trusted else [200, 429, 429])
