"""`json` of a backend over the wire: the body waits until it is complete, and goes on with another value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import Cut, Match, Mirror, Rewrite
from tests.dataplane.plane import Harness, mirrored, route, settle, sticky
from tests.dataplane.scripted import ScriptedBackend, answering
from tests.dataplane.test_cut_after import taken_back
from tests.dataplane.wire import Message, chunked, get, post, wait_until

NEW = Rewrite(json=(("model", '"new"'),))
TYPE = b"Content-Type: application/json"
BODY = b'{"model": "old", "n": 1.50}'
SENT = b'{"model": "new", "n": 1.50}'
BUSY = answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")


def rewriting(harness: Harness, name: str, request: Rewrite | None = NEW, **more: Any) -> ScriptedBackend:
    backend = harness.backend(name, **more)
    harness.specs[name] = replace(harness.specs[name], request=request)
    return backend


def in_chunks(*parts: bytes) -> bytes:
    head = b"POST /predict HTTP/1.1\r\nHost: models\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunked(*parts)


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    "raw", [post(BODY, fields=[TYPE]), in_chunks(BODY), in_chunks(BODY[:9], BODY[9:]), post(BODY)]
)
async def test_the_model_gets_the_body_with_the_value(harness: Harness, raw: bytes, bytewise: bool) -> None:
    backend = rewriting(harness, "v2")
    harness.use(route("v2"))
    client = await harness.client()
    for n in range(2):
        await (client.send_bytewise(raw) if bytewise else client.send(raw))
        assert (await client.answer()).body == b"v2"
        request = backend.requests[n]
        assert (request.body, request.field("content-length")) == (SENT, b"%d" % len(SENT))
        assert request.field("transfer-encoding") is None


async def test_a_longer_value_and_trailers(harness: Harness) -> None:
    backend = rewriting(harness, "v2", Rewrite(json=(("model", json.dumps("x" * 100_000)), ("user", '"u"'))))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(in_chunks(BODY))
    await client.answer()
    assert json.loads(backend.requests[0].body) == {"model": "x" * 100_000, "user": "u", "n": 1.5}


async def test_digests_of_the_client_s_body_are_removed(harness: Harness) -> None:
    backend = rewriting(harness, "v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(
        post(BODY, fields=[TYPE, b"Content-Digest: sha-256=:AA==:", b"Content-MD5: x", b"X-Kept: 1"])
    )
    await client.answer()
    (request,) = backend.requests
    assert (request.field("content-digest"), request.field("content-md5"), request.field("x-kept")) == (
        None,
        None,
        b"1",
    )


async def test_a_retry_gets_it_too(harness: Harness) -> None:
    """The first endpoint closes after the request; both get the same body."""

    async def closing(conversation: Any) -> None:
        await conversation.request()
        conversation.close()

    first = rewriting(harness, "v2", script=closing)
    second = harness.another_endpoint("v2")
    harness.use(route("v2", pure=True))
    client = await harness.client()
    while not first.requests:
        await client.send(post(BODY, fields=[TYPE]))
        assert (await client.answer()).status == 200
    assert {request.body for request in (*first.requests, *second.requests)} == {SENT}


@pytest.mark.parametrize("chunks", [1, 2])
async def test_a_fallback_gets_the_client_s_body_or_its_own(harness: Harness, chunks: int) -> None:
    v2, v3 = (
        rewriting(harness, "v2", script=BUSY),
        rewriting(harness, "v3", Rewrite(json=(("model", '"v3"'),))),
    )
    harness.use(route("v2", fallback="v3", pure=True))
    client = await harness.client()
    await client.send(in_chunks(BODY) if chunks == 1 else in_chunks(BODY[:5], BODY[5:]))
    assert (await client.answer()).body == b"v3"
    assert (v2.requests[0].body, v3.requests[0].body) == (SENT, BODY.replace(b"old", b"v3"))
    harness.specs["v3"] = replace(harness.specs["v3"], request=None)
    harness.use(route("v2", fallback="v3", pure=True))
    await client.send(post(BODY, fields=[TYPE]))
    assert (await client.answer()).body == b"v3"
    assert v3.requests[1].body == BODY


async def test_a_fallback_that_cannot_be_written_is_not_asked(harness: Harness) -> None:
    harness.backend("v2", BUSY)
    v3 = rewriting(harness, "v3")
    harness.use(route("v2", fallback="v3", pure=True))
    client = await harness.client()
    await client.send(post(b'{"model":1,"model":2}', fields=[TYPE]))
    answer = await client.answer()
    assert (answer.status, answer.backend) == (503, "v2")
    assert v3.requests == []


async def test_a_mirror_gets_its_own_body(harness: Harness) -> None:
    v2, v4 = harness.backend("v2"), rewriting(harness, "v4")
    harness.use(route("v2", mirrors=mirrored("v4")))
    client = await harness.client()
    await client.send(post(BODY, fields=[TYPE]))
    await client.answer()
    await wait_until(lambda: v4.requests, "the copy")
    assert (v2.requests[0].body, v4.requests[0].body) == (BODY, SENT)
    await client.send(post(b"{", fields=[TYPE]))
    assert (await client.answer()).status == 200
    await harness.quiet()
    assert harness.mirrors("v4") == {"sent": 1, "dropped_not_writable": 1}


async def test_a_mirror_s_own_rewriting_is_of_its_copies_alone(harness: Harness) -> None:
    """Two routes copy to one backend, each in its own form; a third sends it requests."""
    v2, v4 = harness.backend("v2"), harness.backend("v4")
    routes = []
    for name in ("a", "b"):
        request = Rewrite(replace=f"/{name}", set=(("x-name", name),), json=(("model", f'"{name}"'),))
        mirror = Mirror("v4", BUCKETS, 0, request, f"v4 of {name}")
        routes.append(route("v2", name, match=Match(path=f"/{name}"), mirrors=(mirror,)))
    harness.use(*routes, route("v4", "plain", match=Match(path="/plain")))
    client = await harness.client()
    for path in ("/a", "/b", "/plain", "/a"):
        await client.send(post(b'{"model": "x"}', path, fields=[TYPE]))
        await client.answer()
        await harness.quiet()
    assert sorted((r.first, r.field("x-name") or b"", r.body) for r in v4.requests) == [
        (b"POST /a HTTP/1.1", b"a", b'{"model": "a"}'),
        (b"POST /a HTTP/1.1", b"a", b'{"model": "a"}'),
        (b"POST /b HTTP/1.1", b"b", b'{"model": "b"}'),
        (b"POST /plain HTTP/1.1", b"", b'{"model": "x"}'),
    ]
    assert {r.body for r in v2.requests} == {b'{"model": "x"}'}
    await client.send(post(b"{", "/b", fields=[TYPE]))
    assert (await client.answer()).status == 200
    await harness.quiet()
    assert harness.plane.recorder.table.mirrors == {
        ("a", "v4", "sent"): 2,
        ("b", "v4", "sent"): 1,
        ("b", "v4", "dropped_not_writable"): 1,
    }
    harness.use(route("v2", "a", match=Match(path="/a"), mirrors=mirrored("v4")))
    await client.send(post(b'{"model": "x"}', "/a", fields=[TYPE]))
    await client.answer()
    await harness.quiet()
    assert [r.body for r in v4.requests].count(b'{"model": "x"}') == 2
    assert set(harness.plane.mirrors.states) == {"v4"}


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    ("raw", "status", "detail"),
    [
        (post(b'{"model":1', fields=[TYPE]), 400, "This model's requests are rewritten, and the body is not valid JSON."),
        (post(b'{"model":1,"MODEL":2}', fields=[TYPE]), 400, "The JSON field model is in the body more than once."),
        (post(b"\x1f\x8b", fields=[TYPE, b"Content-Encoding: gzip"]), 415, "This model's requests are rewritten, so the body must have no Content-Encoding."),
        (post(b"\x1f\x8b" * 5000, fields=[b"Content-Type: audio/wav", b"Content-Encoding: gzip"]), 415, "This model's requests are rewritten, so the body must have no Content-Encoding."),
        (post(b"{" + b" " * 5000 + b"}", fields=[TYPE]), 413, "The request is larger than the limit up to which this model's requests are rewritten."),
        (in_chunks(b"{", b" " * 5000, b"}"), 413, "The request is larger than the limit up to which this model's requests are rewritten."),
    ],
)  # fmt: skip
async def test_what_cannot_be_written_is_refused_with_the_reason(
    harness: Harness, raw: bytes, status: int, detail: str, bytewise: bool
) -> None:
    backend = rewriting(harness, "v2")
    harness.use(route("v2", inspect_limit=4096, fallback="v2"))
    client = await harness.client()
    if bytewise:
        await client.send_bytewise(raw[:300])
        raw = raw[300:]
    await client.send(raw)
    answer = await client.answer()
    assert (answer.status, json.loads(answer.body)["detail"]) == (status, detail)
    assert backend.requests == []
    assert (await harness.cell("v2")).errors == 0


@pytest.mark.parametrize(
    "raw",
    [
        get("/v1/models"),
        post(b""),
        post(b"--x\r\n" + b"y" * 10_000, fields=[b"Content-Type: multipart/form-data; boundary=x"]),
        post(b"z" * 10_000, fields=[b"Content-Type: audio/wav", b"Content-Encoding: identity"]),
    ],
)
async def test_what_is_no_json_passes_as_it_comes(harness: Harness, raw: bytes) -> None:
    """Also above the limit: it does not wait to be complete."""
    backend = rewriting(harness, "v2")
    harness.use(route("v2", inspect_limit=4096))
    client = await harness.client()
    head, _, body = raw.partition(b"\r\n\r\n")
    await client.send(head + b"\r\n\r\n")
    for n in range(0, len(body), 3000):
        await client.send(body[n : n + 3000])
    assert (await client.answer()).status == 200
    assert backend.requests[0].body == body


async def test_a_body_is_read_for_the_route_and_rewritten(harness: Harness) -> None:
    backend = rewriting(harness, "v2")
    harness.use(route("v2", sticky=sticky("json", "model")))
    client = await harness.client()
    await client.send(in_chunks(BODY[:5], BODY[5:]))
    await client.answer()
    assert backend.requests[0].body == SENT


async def test_a_client_that_waits_for_100_is_told_to_go_on(harness: Harness) -> None:
    backend = rewriting(harness, "v2")
    harness.use(route("v2"))
    client = await harness.client()
    raw = post(BODY, fields=[TYPE, b"Expect: 100-continue"])
    await client.send(raw[: -len(BODY)])
    assert (await client.head()).status == 100
    await client.send(BODY)
    assert (await client.answer()).status == 200
    request: Message = backend.requests[0]
    assert (request.body, request.field("expect")) == (SENT, None)


async def test_a_client_that_leaves_before_its_body_is_complete(harness: Harness) -> None:
    backend = rewriting(harness, "v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(BODY, fields=[TYPE])[:-3])
    await wait_until(lambda: harness.plane.active, "the route is chosen")
    client.close()
    await harness.quiet()
    assert backend.requests == []
    assert (await harness.cell("v2")).errors == 0


LONG = b'{"x": "' + b"y" * 300_000 + b'", "model": "old"}'
ROOMY: dict[str, Any] = {"inspect_limit": 1024 * 1024, "replay_limit": 4096}


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_long_body_waits_and_is_rewritten(harness: Harness, keyed: bool) -> None:
    """Above what is kept for a replay too, and where the route reads the body as it passes."""
    backend = rewriting(harness, "v2")
    harness.use(route("v2", sticky=sticky("json", "model") if keyed else (), **ROOMY))
    client = await harness.client()
    for _ in range(2):
        await client.send(in_chunks(*[LONG[n : n + 50_000] for n in range(0, len(LONG), 50_000)]))
        assert (await client.answer()).status == 200
    assert [request.body for request in backend.requests] == [LONG.replace(b"old", b"new")] * 2
    assert harness.plane.held_bytes == 0


async def test_what_waits_is_bounded_in_all(harness: Harness) -> None:
    backend = rewriting(harness, "v2")
    harness.use(route("v2", **ROOMY), held_bytes=200_000)
    first, second = await harness.client(), await harness.client()
    await first.send(post(LONG, fields=[TYPE])[:250_000])
    await wait_until(lambda: harness.plane.held_bytes > 150_000, "the first body is held")
    await second.send(post(LONG, fields=[TYPE])[:250_000])
    answer = await second.answer()
    assert (answer.status, json.loads(answer.body)["detail"]) == (
        503,
        "Too many long request bodies are held.",
    )
    first.close()
    await wait_until(lambda: harness.plane.held_bytes == 0, "the first body is dropped")
    assert backend.requests == []


@pytest.mark.parametrize("parts", [(b" ", b'{"model": "old"}'), (b"\n{", b'"model": "old"}')])
async def test_the_kind_of_a_body_is_not_guessed_from_too_little(
    harness: Harness, parts: tuple[bytes, ...]
) -> None:
    """Whatever its type says, and however it is cut."""
    backend = rewriting(harness, "v2")
    harness.use(route("v2"))
    client = await harness.client()
    raw = post(b"".join(parts), fields=[b"Content-Type: text/plain"])
    head = raw[: -len(b"".join(parts))]
    for piece in (head, *parts):
        await client.send(piece)
        await wait_until(lambda: harness.plane.active, "the request has begun")
        await settle()
    assert (await client.answer()).status == 200
    assert json.loads(backend.requests[0].body) == {"model": "new"}


async def test_a_mark_of_another_encoding_is_seen_in_pieces(harness: Harness) -> None:
    backend = rewriting(harness, "v2")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send_bytewise(post(b'\xef\xbb\xbf{"model": 1}', fields=[b"Content-Type: text/plain"]))
    assert (await client.answer()).status == 400
    assert backend.requests == []


@pytest.mark.parametrize("fallback", [None, "v2", "v4"])
async def test_a_cut_while_the_body_comes(harness: Harness, fallback: str | None) -> None:
    """A fallback without `json` takes the request as the client sends it; one with `json` would have to wait, and is not asked."""
    v2, v3, v4 = harness.backend("v2"), rewriting(harness, "v3"), rewriting(harness, "v4")
    split = route({"v2": 0, "v3": BUCKETS}, fallback=fallback, pure=True)
    harness.use(split)
    client = await harness.client()
    raw = post(BODY, fields=[TYPE])
    await client.send(raw[:-5])
    await wait_until(lambda: harness.plane.active, "the route is chosen")
    harness.use(taken_back(split, Cut("v3", 0.01)))
    if fallback == "v2":
        await wait_until(lambda: v2.conversations, "the fallback is asked")
        await client.send(raw[-5:])
        answer = await client.answer()
        assert (answer.status, answer.body, v2.requests[0].body) == (200, b"v2", BODY)
    else:
        answer = await client.answer()
        assert (answer.status, answer.error) == (503, b"internal/cut")
    assert v3.requests == v4.requests == []
