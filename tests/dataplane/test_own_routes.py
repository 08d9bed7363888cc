"""Routes without backends: redirects and fixed answers, over sockets."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.routing.ledger import BUCKETS, Ledger
from crossfade.routing.snapshot import OWN, Cors, Match, OwnAnswer, Rate, Route, Sticky
from tests.dataplane.plane import Harness, route
from tests.dataplane.wire import Message, get, post

PAGE = OwnAnswer(503, b"back soon", (("content-type", "text/plain"), ("retry-after", "60")))


def own(answer: OwnAnswer, **options: Any) -> Route:
    ledger = Ledger((OWN,), bytes(BUCKETS), 0)
    return route("any", ledger=ledger, roles=("member",), own_answer=answer, **options)


async def asked(harness: Harness, answer: OwnAnswer, raw: bytes, **options: Any) -> Message:
    harness.use(own(answer, **options))
    client = await harness.client()
    await client.send(raw)
    return await client.answer(raw.split(b" ")[0].decode())


@pytest.mark.parametrize("bytewise", [False, True])
async def test_a_fixed_answer_has_its_status_fields_and_body(harness: Harness, bytewise: bool):
    harness.use(own(PAGE))
    client = await harness.client()
    for _ in range(2):  # the connection stays open
        raw = get()
        await (client.send_bytewise(raw) if bytewise else client.send(raw))
        answer = await client.answer()
        assert (answer.first, answer.body) == (b"HTTP/1.1 503 Service Unavailable", b"back soon")
        fields = {name.lower(): value for name, value in answer.fields}
        assert fields.pop(b"date") and fields.pop(b"x-request-id")
        assert fields == {b"content-length": b"9", b"content-type": b"text/plain", b"retry-after": b"60"}
    cell = await harness.cell(OWN)
    assert (cell.requests, cell.codes, cell.responses, cell.errors) == (2, {503: 2}, {503: 2}, 0)


@pytest.mark.parametrize(
    ("answer", "raw", "first", "body"),
    [
        (PAGE, get().replace(b"GET", b"HEAD"), b"HTTP/1.1 503 Service Unavailable", b""),
        (OwnAnswer(200, b"ok"), get(), b"HTTP/1.1 200 OK", b"ok"),
        (OwnAnswer(204), get(), b"HTTP/1.1 204 No Content", b""),
        (OwnAnswer(299, b"x"), get(), b"HTTP/1.1 299 ", b"x"),
        (OwnAnswer(200, b"ok"), get().replace(b"HTTP/1.1", b"HTTP/1.0"), b"HTTP/1.1 200 OK", b"ok"),
    ],
)
async def test_a_fixed_answer_is_framed_as_its_status_and_its_client_ask(
    harness: Harness, answer: OwnAnswer, raw: bytes, first: bytes, body: bytes
):
    message = await asked(harness, answer, raw)
    assert (message.first, message.body) == (first, body)
    length = None if answer.status == 204 else b"%d" % len(answer.body)
    assert message.field("content-length") == length
    assert (await harness.cell(OWN)).codes == {answer.status: 1}


async def test_an_upload_is_not_read_for_a_fixed_answer(harness: Harness):
    harness.use(own(PAGE))
    client = await harness.client()
    await client.send(post(b"x" * 100_000)[:5000])
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (503, b"close")
    client.half_close()
    assert await client.rest() == (b"", "closed")


async def test_a_fixed_answer_is_sent_in_place_of_a_100(harness: Harness):
    raw = post(b"hello", fields=[b"Expect: 100-continue"])[:-5]
    assert (await asked(harness, PAGE, raw)).status == 503


async def test_limits_hold_for_a_route_without_backends(harness: Harness):
    harness.use(own(PAGE, body_limit=3, rate=Rate(Sticky("client_ip", ""), 0.001, 1)))
    client = await harness.client()
    await client.send(get())
    assert (await client.answer()).status == 503
    await client.send(get())
    assert (await client.answer()).status == 429
    await client.send(post(b"long"))
    assert (await client.answer()).status == 413


async def test_a_route_may_begin_and_cease_to_answer_itself(harness: Harness):
    harness.backend("v2")
    client = await harness.client()
    for routes, status in (
        ([route("v2")], 200),
        ([own(PAGE), route("v2", name="r")], 503),
        ([route("v2")], 200),
    ):
        harness.use(*routes)
        await client.send(get())
        assert (await client.answer()).status == status


@pytest.mark.parametrize(
    ("answer", "target", "location"),
    [
        (OwnAnswer(301, path="/new"), "/old", "/new"),
        (OwnAnswer(301, path="/new"), "/old?a=1&b=%20", "/new?a=1&b=%20"),
        (OwnAnswer(302, prefix="/v3"), "/v2/models/a?x", "/v3/models/a?x"),
        (OwnAnswer(302, prefix="/v3"), "/v2", "/v3"),
        (OwnAnswer(302, prefix="/"), "/v2/models", "/models"),
        (OwnAnswer(302, prefix="/"), "/v2", "/"),
        (OwnAnswer(302, prefix="/v3"), "/%76%32/./models", "/v3/models"),
        (OwnAnswer(303, host="other.example:81"), "/v2/a?b", "//other.example:81/v2/a?b"),
        (OwnAnswer(307, scheme="https"), "/v2/a?b", "https://models/v2/a?b"),
        (OwnAnswer(308, scheme="https", host="other.example", path="/x"), "/v2/a", "https://other.example/x"),
        # Never another host than the configured one
        (OwnAnswer(302, prefix="/"), "/v2//evil.example/x", "/evil.example/x"),
        (OwnAnswer(302, prefix="/"), "/v2/\\evil.example", "/%5Cevil.example"),
        (OwnAnswer(302, prefix="/"), "/v2//%2Fevil.example", "/%2Fevil.example"),
    ],
)
async def test_a_redirect_changes_what_it_names(
    harness: Harness, answer: OwnAnswer, target: str, location: str
):
    match = Match(prefix="/v2") if target != "/old" else Match()
    message = await asked(
        harness, answer, get(target), match=match if "old" not in target else Match(path="/old")
    )
    assert (message.status, message.body) == (answer.status, b"")
    assert (message.field("location") or b"").decode() == location
    assert message.field("content-length") == b"0"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("models:8080", "models"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a.b", "a.b")],
)
async def test_a_redirect_to_another_scheme_keeps_the_host_without_its_port(
    harness: Harness, host: str, expected: str
):
    raw = get("/x").replace(b"Host: models", b"Host: " + host.encode())
    message = await asked(harness, OwnAnswer(307, scheme="https"), raw)
    assert message.field("location") == f"https://{expected}/x".encode()


async def test_slashes_that_are_kept_lead_to_no_other_host(harness: Harness):
    harness.use(own(OwnAnswer(302, prefix="/"), match=Match(prefix="/v2")), merge_slashes=False)
    client = await harness.client()
    await client.send(get("/v2///evil.example/x"))
    assert (await client.answer()).field("location") == b"/evil.example/x"


HTTPS = [b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https"]


@pytest.mark.parametrize(
    ("answer", "asked", "fields", "leads_elsewhere"),
    [
        (OwnAnswer(308, scheme="https"), "/x", [], True),
        (OwnAnswer(308, scheme="https"), "/x", HTTPS, False),
        (OwnAnswer(308, scheme="https"), "/%78?a", HTTPS, False),
        (OwnAnswer(308, scheme="http"), "/x", [], False),
        (OwnAnswer(308, scheme="https", host="models"), "/x", HTTPS, False),
        (OwnAnswer(308, scheme="https", host="models"), "/x", [], True),
        (OwnAnswer(308, host="Models"), "/x", HTTPS, False),
        (OwnAnswer(308, host="other"), "/x", [], True),
        (OwnAnswer(308, scheme="https", path="/y"), "/x", HTTPS, True),
        (OwnAnswer(308, scheme="https", path="/x"), "/x?a", HTTPS, False),
    ],
)
async def test_a_redirect_leaves_a_request_that_is_where_it_leads_to_the_next_route(
    harness: Harness, answer: OwnAnswer, asked: str, fields: list[bytes], leads_elsewhere: bool
):
    """A client would follow it for ever."""
    harness.backend("v2")
    for match in (Match(), Match(path="/x")):
        harness.use(own(answer, match=match), route("v2", name="next"), trusted_proxies=("127.0.0.1/32",))
        client = await harness.client()
        await client.send(get(asked, fields))
        assert (await client.answer()).status == (308 if leads_elsewhere else 200)


async def test_a_redirect_that_makes_a_get_of_a_post_may_lead_to_the_same_url(harness: Harness):
    harness.backend("v2")
    harness.use(own(OwnAnswer(303, path="/x"), match=Match(path="/x")), route("v2", name="next"))
    client = await harness.client()
    for raw, status in ((post(b"{}").replace(b"/predict", b"/x"), 303), (get("/x"), 200)):
        await client.send(raw)
        assert (await client.answer()).status == status


async def test_a_post_over_tls_is_no_get_after_a_redirect_to_https(harness: Harness):
    harness.backend("v2")
    to_https = own(OwnAnswer(301, scheme="https"))
    harness.use(to_https, route("v2", name="next"), trusted_proxies=("127.0.0.1/32",))
    client = await harness.client()
    await client.send(post(b"{}", fields=HTTPS))
    assert (await client.answer()).status == 200


async def test_a_preflight_of_the_next_route_is_answered_behind_a_redirect_to_https(harness: Harness):
    harness.backend("v2")
    to_https = own(OwnAnswer(308, scheme="https"))
    cors = route("v2", name="next", cors=Cors(("*",), ("POST",)))
    harness.use(to_https, cors, trusted_proxies=("127.0.0.1/32",))
    client = await harness.client()
    fields = [b"Origin: https://a.example", b"Access-Control-Request-Method: POST"]
    for more, status in (([], 308), (HTTPS, 204)):
        await client.send(get("/x", [*fields, *more]).replace(b"GET", b"OPTIONS", 1))
        assert (await client.answer()).status == status
