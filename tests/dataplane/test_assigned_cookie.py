"""`sticky: {assign: …}` over the wire: the cookie on the answer, and what the counts know of its visitor."""

from __future__ import annotations

from typing import Any

from crossfade.routing.assigned import Assigned
from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import Match, Rate, Sticky
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import closing
from tests.dataplane.test_cors import APP, CORS, preflight, with_origin
from tests.dataplane.test_own_routes import PAGE, own
from tests.dataplane.upgrades import UPGRADE_REQUEST, upgrading, watch
from tests.dataplane.wire import Message, Wire, get, ok, post

ASSIGN = Sticky("assign", "cf_id", Assigned("cf_id", 86_400.0))
HALVES = {"v2": BUCKETS // 2, "v3": BUCKETS // 2}


def serve(harness: Harness, *before: Sticky, **options: Any) -> None:
    for name in ("v2", "v3"):
        if name not in harness.backends:
            harness.backend(name)
    harness.use(
        route(HALVES, sticky=(*before, ASSIGN), **options), cookie_secrets=("a secret for this test",)
    )


def given_cookie(answer: Message) -> bytes:
    (field,) = answer.all("set-cookie")
    assert field.endswith(b"; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax")
    return field.partition(b";")[0]


async def ask(client: Wire, *cookies: bytes) -> Message:
    await client.send(get(fields=[b"Cookie: " + cookie for cookie in cookies]))
    answer = await client.answer()
    assert answer.status == 200
    return answer


async def test_a_visitor_keeps_the_backend_of_the_first_request(harness: Harness) -> None:
    serve(harness)
    seen = set()
    for _ in range(12):
        client = await harness.client()
        first = await ask(client)
        cookie = given_cookie(first)
        seen.add(first.backend)
        for _ in range(3):
            again = await ask(client, b"a=1", cookie + b"; b=2")
            assert (again.backend, again.all("set-cookie")) == (first.backend, [])
    assert seen == {"v2", "v3"}
    cells = [await harness.cell(name) for name in ("v2", "v3")]
    assert sum(cell.requests for cell in cells) == 48
    assert sum(cell.unkeyed for cell in cells) == 12, "a first request counts as one without a key"


async def test_a_forged_cookie_is_replaced(harness: Harness) -> None:
    serve(harness)
    client = await harness.client()
    cookie = given_cookie(await ask(client))
    forged = cookie[:-1] + (b"A" if cookie[-1:] != b"A" else b"B")
    assert given_cookie(await ask(client, forged))[:20] != cookie[:20]


async def test_a_restart_and_a_reload_accept_the_cookie(harness: Harness) -> None:
    serve(harness)
    client = await harness.client()
    cookie = given_cookie(await ask(client))
    serve(harness)
    assert (await ask(client, cookie)).all("set-cookie") == []
    harness.use(route(HALVES, sticky=(ASSIGN,)), cookie_secrets=("another secret, as after a loss",))
    assert (await ask(client, cookie)).all("set-cookie") != []


async def test_a_rotation_keeps_the_visitor_and_signs_anew(harness: Harness) -> None:
    serve(harness)
    client = await harness.client()
    first = await ask(client)
    cookie = given_cookie(first)
    harness.use(
        route(HALVES, sticky=(ASSIGN,)),
        cookie_secrets=("a new secret, since today", "a secret for this test"),
    )
    renewed = await ask(client, cookie)
    assert renewed.backend == first.backend
    assert given_cookie(renewed)[: len(b"cf_id=") + 16] == cookie[: len(b"cf_id=") + 16]
    assert given_cookie(renewed) != cookie


async def test_a_request_with_another_key_gets_no_cookie(harness: Harness) -> None:
    serve(harness, Sticky("header", "x-user"))
    client = await harness.client()
    await client.send(get(fields=[b"X-User: u1"]))
    assert (await client.answer()).all("set-cookie") == []
    given_cookie(await ask(client))


async def test_the_cookies_of_the_model_stay(harness: Harness) -> None:
    raw = ok(b"hi", [b"Set-Cookie: session=1", b"Set-Cookie: b=2; Path=/"])
    for name in ("v2", "v3"):
        harness.backend(name, closing(raw))
    serve(harness)
    fields = (await ask(await harness.client())).all("set-cookie")
    assert fields[:2] == [b"session=1", b"b=2; Path=/"]
    assert fields[2].startswith(b"cf_id=")


async def test_the_answer_of_the_fallback_has_the_cookie_too(harness: Harness) -> None:
    harness.refusing("v2")
    harness.refusing("v3")
    harness.backend("v4")
    serve(harness, fallback="v4")
    answer = await ask(await harness.client())
    assert answer.backend == "v4"
    assert answer.field("x-crossfade-assigned") in (b"v2", b"v3")
    given_cookie(answer)


async def test_the_cookie_is_secure_where_a_trusted_proxy_says_https(harness: Harness) -> None:
    for name in ("v2", "v3"):
        harness.backend(name)
    harness.use(
        route(HALVES, sticky=(ASSIGN,)),
        cookie_secrets=("a secret for this test",),
        trusted_proxies=("127.0.0.1",),
    )
    client = await harness.client()
    for scheme, end in ((b"https", b"; Secure"), (b"http", b"SameSite=Lax")):
        await client.send(get(fields=[b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: " + scheme]))
        (field,) = (await client.answer()).all("set-cookie")
        assert field.endswith(end)


async def test_a_preflight_gets_no_cookie_and_the_request_behind_it_does(harness: Harness) -> None:
    """A browser sends no cookies with a preflight, and keeps none of its answer (Fetch standard, section 3.2)."""
    serve(harness, cors=CORS)
    client = await harness.client()
    await client.send(preflight())
    first = await client.answer()
    assert (first.status, first.field("access-control-allow-origin")) == (204, APP.encode())
    assert first.all("set-cookie") == []
    await client.send(post(b"{}", fields=with_origin()))
    answer = await client.answer()
    assert answer.field("access-control-allow-credentials") == b"true"
    given_cookie(answer)


async def test_answers_of_the_proxy_itself_give_no_cookie(harness: Harness) -> None:
    """No backend was assigned, so there is nothing to come back to."""
    serve(harness)
    page = own(PAGE, match=Match(path="/page"), sticky=(ASSIGN,), name="page")
    limited = route(HALVES, sticky=(ASSIGN,), body_limit=3, rate=Rate(Sticky("client_ip"), 0.001, 1))
    harness.use(page, limited, cookie_secrets=("a secret for this test",))
    client = await harness.client()
    for raw, status, cookies in (
        (get("/page"), 503, 0),
        (get(), 200, 1),
        (get(), 429, 0),
        (post(b"long"), 413, 0),
    ):
        await client.send(raw)
        answer = await client.answer()
        assert (answer.status, len(answer.all("set-cookie"))) == (status, cookies)


async def test_a_websocket_gets_the_cookie_with_its_101(harness: Harness) -> None:
    for name in ("v2", "v3"):
        harness.backend(name, upgrading(watch))
    serve(harness)
    client = await harness.client()
    await client.send(UPGRADE_REQUEST)
    answer = await client.head()
    assert answer.status == 101
    given_cookie(answer)
