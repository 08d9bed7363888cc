"""Answers for web pages of other origins (CORS), and fields that a route changes in its answers, over sockets."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.routing.snapshot import OWN, Cors, Match, Rate, Sticky
from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import answering, closing
from tests.dataplane.test_own_routes import PAGE, own
from tests.dataplane.wire import Message, get, ok, post

APP = "https://app.example.com"
ALLOW = "access-control-allow-origin"
CORS = Cors(
    (APP, "https://*.trusted.example:8443"), ("POST",), ("content-type",), ("x-request-id",), True, 600
)


def preflight(origin: str = APP, method: str = "POST", path: str = "/predict", *fields: str) -> bytes:
    lines = [f"Origin: {origin}".encode(), f"Access-Control-Request-Method: {method}".encode()]
    return get(path, [*lines, *(f.encode() for f in fields)]).replace(b"GET", b"OPTIONS", 1)


def with_origin(origin: str = APP) -> list[bytes]:
    return [b"Origin: " + origin.encode()]


def of_cors(message: Message) -> dict[str, str]:
    fields = [(n.decode().lower(), v.decode()) for n, v in message.fields]
    return {
        n.removeprefix("access-control-"): v
        for n, v in fields
        if n.startswith("access-control-") or n == "vary"
    }


async def ask(harness: Harness, raw: bytes) -> Message:
    client = await harness.client()
    await client.send(raw)
    return await client.answer()


async def test_a_preflight_is_answered_by_the_proxy(harness: Harness):
    v2 = harness.backend("v2")
    harness.use(
        route("v2", match=Match(path="/predict", methods=("POST",), headers=(("x-tenant", "a"),)), cors=CORS)
    )
    client = await harness.client()
    for _ in range(2):
        await client.send_bytewise(preflight())
        answer = await client.answer()
        assert answer.first == b"HTTP/1.1 204 No Content"
        assert of_cors(answer) == {
            "allow-origin": APP,
            "allow-credentials": "true",
            "vary": "Origin",
            "allow-methods": "POST",
            "allow-headers": "content-type",
            "max-age": "600",
        }
    assert v2.requests == []
    cell = await harness.cell(OWN)
    assert (cell.codes, cell.errors) == ({204: 2}, 0)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (APP, True),
        ("https://a.trusted.example:8443", True),
        ("https://a.b.trusted.example:8443", True),
        ("https://trusted.example:8443", False),
        ("https://eviltrusted.example:8443", False),
        ("https://evil.example/.trusted.example:8443", False),
        ("https://a.trusted.example", False),
        ("http://app.example.com", False),
        ("https://app.example.com.evil.example", False),
        ("https://evil.example", False),
        ("null", False),
        ("*", False),
    ],
)
async def test_no_other_origin_is_ever_named(harness: Harness, origin: str, allowed: bool):
    harness.backend("v2", answering(ok(b"{}", [b"Access-Control-Allow-Origin: *"])))
    harness.use(route("v2", cors=CORS))
    asked_first = of_cors(await ask(harness, preflight(origin)))
    answer = of_cors(await ask(harness, post(b"{}", fields=with_origin(origin))))
    if allowed:
        assert asked_first["allow-origin"] == answer["allow-origin"] == origin
        assert answer == {
            "allow-origin": origin,
            "allow-credentials": "true",
            "expose-headers": "x-request-id",
            "vary": "Origin",
        }
    else:
        assert asked_first == {"vary": "Origin"}
        assert answer == {"expose-headers": "x-request-id", "vary": "Origin"}


async def test_any_origin_is_allowed_without_its_name(harness: Harness):
    harness.backend("v2")
    harness.use(route("v2", cors=Cors(("*",), ("*",), ("*",))))
    assert of_cors(await ask(harness, preflight("https://a.example"))) == {
        "allow-origin": "*",
        "allow-methods": "*",
        "allow-headers": "*",
    }
    assert of_cors(await ask(harness, get(fields=with_origin("null")))) == {"allow-origin": "*"}
    assert of_cors(await ask(harness, get())) == {}


async def test_an_answer_without_origin_varies_by_it(harness: Harness):
    harness.backend("v2", answering(ok(b"{}", [b"Vary: Accept"])))
    harness.use(route("v2", cors=CORS))
    answer = await ask(harness, post(b"{}"))
    assert answer.all("vary") == [b"Accept", b"Origin"]
    assert answer.field(ALLOW) is None


async def test_errors_of_the_proxy_can_be_read_by_the_page(harness: Harness):
    harness.backend("v2", closing(b""))
    options: dict[str, Any] = {"cors": CORS, "fields_set": (("x-a", "1"), ("content-type", "text/html"))}
    harness.use(route("v2", body_limit=5, rate=Rate(Sticky("client_ip", ""), 0.001, 2), **options))
    for body, status in ((b"{}", 502), (b"{}", 502), (b"{}", 429)):
        answer = await ask(harness, post(body, fields=with_origin()))
        assert (answer.status, answer.field(ALLOW), answer.field("x-a")) == (status, APP.encode(), b"1")
        assert answer.all("content-type") == [b"application/problem+json"]
    answer = await ask(harness, post(b"too long", fields=with_origin()))
    assert (answer.status, answer.field(ALLOW)) == (413, APP.encode())
    assert answer.field("access-control-expose-headers") == b"x-request-id"


async def test_fields_for_one_request_are_not_those_of_the_next(harness: Harness):
    harness.backend("v2")
    harness.use(route("v2", match=Match(path="/a"), cors=CORS))
    client = await harness.client()
    await client.send(get("/a", with_origin()))
    assert (await client.answer()).field(ALLOW) == APP.encode()
    await client.send(get("/none", with_origin()))
    answer = await client.answer()
    assert (answer.status, answer.field(ALLOW)) == (404, None)


@pytest.mark.parametrize(
    ("raw", "backend"),
    [
        (
            preflight(method="GET"),
            "v2",
        ),  # not a method of the route with CORS, so the next one gets the request
        (preflight(path="/other"), "v2"),
        (get(fields=with_origin()).replace(b"GET", b"OPTIONS"), "v2"),  # OPTIONS, but no preflight
        (preflight().replace(b"Origin", b"X-Origin"), "v2"),
    ],
)
async def test_other_requests_with_options_go_the_usual_way(harness: Harness, raw: bytes, backend: str):
    harness.backend("v2")
    only_post = route("v2", match=Match(path="/predict", methods=("POST",)), cors=CORS, name="cors")
    harness.use(only_post, route("v2", name="rest"))
    answer = await ask(harness, raw)
    assert (answer.status, answer.backend, of_cors(answer)) == (200, backend, {})


async def test_a_route_for_options_comes_first_where_it_is_written_first(harness: Harness):
    harness.backend("v2")
    first = route("v2", match=Match(path="/predict", methods=("OPTIONS",)), name="options")
    harness.use(first, route("v2", match=Match(path="/predict", methods=("POST",)), cors=CORS))
    assert (await ask(harness, preflight())).backend == "v2"


async def test_a_fixed_answer_may_have_cors(harness: Harness):
    harness.use(own(PAGE, cors=CORS))
    answer = await ask(harness, get(fields=with_origin()))
    assert (answer.status, answer.body, answer.field(ALLOW)) == (503, b"back soon", APP.encode())
    assert (await ask(harness, preflight())).status == 204


async def test_fields_of_answers_are_removed_and_set(harness: Harness):
    raw = ok(b"hi", [b"Server: model", b"X-A: old", b"x-a: older", b"X-Kept: 1", b"Content-Type: a/b"])
    harness.backend("v2", answering(raw))
    harness.use(
        route(
            "v2",
            fields_set=(("x-a", "new"), ("cache-control", "no-store")),
            fields_removed=("server", "gone"),
        )
    )
    client = await harness.client()
    for _ in range(2):
        await client.send(get())
        answer = await client.answer()
        assert answer.body == b"hi"
        fields = [
            (n, v)
            for n, v in answer.fields
            if n.lower() not in (b"date", b"x-request-id", b"x-crossfade-backend")
        ]
        assert fields == [
            (b"X-Kept", b"1"),
            (b"Content-Type", b"a/b"),
            (b"Content-Length", b"2"),
            (b"x-a", b"new"),
            (b"cache-control", b"no-store"),
        ]


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: x\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: close\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\nhi",
    ],
)
async def test_the_framing_of_an_answer_stays_right(harness: Harness, raw: bytes):
    harness.backend("v2", closing(raw) if b"close" in raw else answering(raw))
    harness.use(route("v2", fields_set=(("x-a", "1"),), fields_removed=("server",)))
    client = await harness.client()
    await client.send(get())
    answer = await client.answer()
    assert (answer.body, answer.field("x-a"), answer.field("server"), len(answer.all("date"))) == (
        b"hi",
        b"1",
        None,
        1,
    )
