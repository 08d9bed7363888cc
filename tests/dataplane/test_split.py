"""Shares and sticky keys over the wire, for each source of a key."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from crossfade.routing.ledger import BUCKETS, new_ledger, salt_of
from crossfade.routing.snapshot import Match, Sticky
from tests.dataplane.plane import Harness, route, settle, sticky
from tests.dataplane.wire import Wire, chunked, get, post, wait_until
from tests.ledgers import backend_of, bucket_of

SPLIT = {"v2": 9000, "v3": 1000}
SALT = salt_of("churn")
LEDGER = new_ledger(SPLIT, SALT)
CUSTOMERS = [f"customer-{n}" for n in range(100)]
INSPECT_LIMIT = 256  # bytes


def expected_backend(key: str) -> str:
    return backend_of(LEDGER, bucket_of(key.encode(), SALT))


def body_of(customer: str, size: int = 0) -> bytes:
    body: dict[str, Any] = {"customer_id": customer, "padding": ""}
    body["padding"] = "x" * (size - len(json.dumps(body))) if size else ""
    return json.dumps(body).encode()


def in_chunks(customer: str) -> bytes:
    body = body_of(customer)
    head = b"POST /predict HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunked(body[:9], body[9:])


KEY_SOURCES = {
    "header": (sticky("header", "X-Customer"), lambda c: get(fields=[b"x-customer: " + c.encode()])),
    "cookie": (sticky("cookie", "who"), lambda c: get(fields=[b"Cookie: a=b; who=" + c.encode()])),
    "second cookie field": (
        sticky("cookie", "who"),
        lambda c: get(fields=[b"Cookie: a=b", b"Cookie: who=" + c.encode()]),
    ),
    "query": (sticky("query", "who"), lambda c: get(f"/predict?a=b&who={c}")),
    "json": (sticky("json", "customer_id"), lambda c: post(body_of(c))),
    "json in chunks": (sticky("json", "customer_id"), in_chunks),
    "first that is present": (
        (Sticky("header", "x-no"), Sticky("json", "customer_id")),
        lambda c: post(body_of(c)),
    ),
}


async def served_by(client: Wire) -> str:
    answer = await client.answer()
    assert answer.status == 200
    assert answer.body.decode() == answer.backend
    return answer.backend


def use_split(harness: Harness, **options: Any) -> None:
    harness.backend("v2")
    harness.backend("v3")
    harness.use(route(SPLIT, **options))


@pytest.mark.parametrize("source, request_of", KEY_SOURCES.values(), ids=KEY_SOURCES)
async def test_requests_with_one_key_go_to_one_backend(
    harness: Harness, source: tuple[Sticky, ...], request_of: Any
) -> None:
    use_split(harness, sticky=source)
    client = await harness.client()
    for customer in CUSTOMERS:
        await client.send(request_of(customer))
        assert await served_by(client) == expected_backend(customer)
    assert {expected_backend(c) for c in CUSTOMERS} == {"v2", "v3"}
    assert (await harness.cell("v2")).unkeyed == (await harness.cell("v3")).unkeyed == 0


@pytest.mark.parametrize("delivery", ["whole", "head first", "bytewise", "chunked"])
async def test_a_body_is_inspected_however_it_arrives(harness: Harness, delivery: str) -> None:
    use_split(harness, sticky=sticky("json", "customer_id"))
    client = await harness.client()
    for customer in CUSTOMERS[:20]:
        raw = in_chunks(customer) if delivery == "chunked" else post(body_of(customer))
        if delivery in ("bytewise", "chunked"):
            await client.send_bytewise(raw)
        else:
            cut = raw.index(b"\r\n\r\n") + 4 if delivery == "head first" else len(raw)
            await client.send(raw[:cut])
            await settle()
            await client.send(raw[cut:])
        assert await served_by(client) == expected_backend(customer)
    assert [r.body for b in harness.backends.values() for r in b.requests if not r.body] == []


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize("excess", [0, 1])
async def test_the_inspect_limit_does_not_depend_on_how_a_body_arrives(
    harness: Harness, is_chunked: bool, pieces: int, excess: int
) -> None:
    """A field that ends at the limit is found, and one that ends a byte behind it is not, in one piece or in many (law 11)."""
    use_split(harness, sticky=sticky("json", "customer_id"), inspect_limit=INSPECT_LIMIT, absent_beyond=True)
    client = await harness.client()
    customer = next(c for c in CUSTOMERS if expected_backend(c) == "v3")
    field = b'"customer_id": "%b"' % customer.encode()
    body = b"{" + field.rjust(INSPECT_LIMIT + excess - 1) + b', "padding": "' + b"x" * INSPECT_LIMIT + b'"}'
    assert body.index(field) + len(field) == INSPECT_LIMIT + excess
    head = b"POST / HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = head + chunked(body) if is_chunked else post(body)
    step = -(-len(raw) // pieces)
    for n in range(0, len(raw), step):
        await client.send(raw[n : n + step])
        await settle()
    served = await served_by(client)
    unkeyed = (await harness.cell("v2")).unkeyed + (await harness.cell("v3")).unkeyed
    assert unkeyed == excess
    assert excess or served == "v3"
    assert [r.body for b in harness.backends.values() for r in b.requests] == [body]


async def test_the_client_address_can_be_the_key(harness: Harness) -> None:
    use_split(harness, sticky=sticky("client_ip"))
    for _ in range(5):
        client = await harness.client()
        await client.send(get())
        assert await served_by(client) == expected_backend("127.0.0.1")


@pytest.mark.parametrize("raw", [get(), post(b"no json"), post(b"[1]"), post(b'{"customer_id": null}')])
async def test_requests_without_a_key_are_split_at_random(
    harness: Harness, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter([0.0, 0.5, 0.9999])
    monkeypatch.setattr("crossfade.dataplane.exchange.random", lambda: next(draws))
    use_split(harness, sticky=sticky("json", "customer_id"))
    client = await harness.client()
    seen = []
    for _ in range(3):
        await client.send(raw)
        seen.append(await served_by(client))
    assert seen == [backend_of(LEDGER, int(draw * BUCKETS)) for draw in (0.0, 0.5, 0.9999)]
    assert (await harness.cell("v2")).unkeyed + (await harness.cell("v3")).unkeyed == 3


async def test_keyed_requests_are_split_as_the_ledger_says(harness: Harness) -> None:
    """Each backend gets exactly the requests whose keys the ledger gives to it."""
    use_split(harness, sticky=sticky("header", "x-customer"))
    customers = [f"c{n}" for n in range(1000)]
    client = await harness.client()
    for n in range(0, len(customers), 50):
        await client.send(b"".join(get(fields=[b"x-customer: " + c.encode()]) for c in customers[n : n + 50]))
        for _ in range(50):
            await served_by(client)
    expected = Counter(expected_backend(c) for c in customers)
    assert {name: len(b.requests) for name, b in harness.backends.items()} == expected
    assert (await harness.cell("v2")).requests == expected["v2"]
    assert (await harness.cell("v3")).role == ""
    roles = {c.backend: c.role for c in harness.plane.recorder.take().cells}
    assert roles == {"v2": "champion", "v3": "challenger"}


async def test_a_json_field_of_the_body_chooses_the_route(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v3")
    harness.use(
        route("v3", name="new", match=Match(path="/predict", json=(("model", "new"),))),
        route("v2", name="old", match=Match(path="/predict", json=(("model", "old"),))),
    )
    client = await harness.client()
    for model, status, backend in (("new", 200, "v3"), ("old", 200, "v2"), ("none", 404, "")):
        raw = post(json.dumps({"model": model}).encode())
        for pieces in ([raw], [raw[:-3], raw[-3:]]):
            for piece in pieces:
                await client.send(piece)
                await settle()
            answer = await client.answer()
            assert (answer.status, answer.backend) == (status, backend)
            assert answer.error == (None if status == 200 else b"internal/no_route")


async def test_a_request_without_a_route_is_a_404(harness: Harness) -> None:
    """The proxy reads the body of the refused request, so it serves the next one on the connection."""
    harness.backend("v2")
    harness.use(route("v2", match=Match(path="/predict")))
    client = await harness.client()
    await client.send(post(b"hello", "/other") + get("/predict"))
    answer = await client.answer()
    assert (answer.status, answer.error) == (404, b"internal/no_route")
    assert (await client.answer()).body == b"v2"
    assert harness.plane.recorder.take().refused == {"404:no_route": 1}


async def test_all_endpoints_of_a_backend_get_requests(harness: Harness) -> None:
    harness.backend("v2")
    other = harness.another_endpoint("v2")
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(60):
        await client.send(get())
        assert (await client.answer()).backend == "v2"
    await wait_until(
        lambda: harness.backends["v2"].requests and other.requests, "both endpoints have requests"
    )
