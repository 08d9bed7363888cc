"""Body inspection: a body that cannot be parsed gives no value, is counted, and is forwarded unchanged."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import Match
from tests.dataplane.plane import Harness, route, sticky
from tests.dataplane.scripted import Conversation, naming
from tests.dataplane.wire import chunked, get, post, wait_until

LIMIT = 256  # bytes
READABLE = b'{"model": {"name": "new"}, "customer_id": "c1"}'
LONG = READABLE[:-1] + b', "padding": "' + b"x" * LIMIT + b'"}'
TOO_LARGE = b'{"padding": "' + b"x" * LIMIT + b'", ' + READABLE[1:]
HEAD = b"POST /predict HTTP/1.1\r\nHost: models\r\n"
NEW = (("model.name", "new"),)


def chunked_post(body: bytes) -> bytes:
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body[:7], body[7:])


UNREAD = {
    "too large": (post(TOO_LARGE), "too_large"),
    "too large in chunks": (chunked_post(TOO_LARGE), "too_large"),
    "gzip": (post(gzip.compress(READABLE), fields=[b"Content-Encoding: gzip"]), "encoded"),
    "truncated JSON": (post(READABLE[:-3]), "not_json"),
    "two JSON values": (post(READABLE * 2), "not_json"),
    "not UTF-8": (post(READABLE.replace(b"c1", b"\xff")), "not_json"),
    "utf-16": (post(READABLE.decode().encode("utf-16")), "not_json"),
    "a form": (post(b"model=new&customer_id=c1"), "not_json"),
}
READ = {
    "whole": post(READABLE),
    "in chunks": chunked_post(READABLE),
    "longer than the limit": post(LONG),
    "longer than the limit, in chunks": chunked_post(LONG),
    "at the limit": post(READABLE + b" " * (LIMIT - len(READABLE))),
    "leading whitespace": post(b"\r\n " + READABLE),
    "escaped character": post(READABLE.replace(b"new", rb"n\u0065w")),
    "duplicate key, the last one counts": post(READABLE.replace(b'{"name"', b'{"name": "old", "name"')),
}


def unread_counts(harness: Harness) -> dict[str, int]:
    return harness.plane.recorder.table.unread


async def serve_two_routes(harness: Harness, **options: Any) -> None:
    """Route `new` matches bodies with the model name `new`, if it is within the limit. Route `rest` matches all others."""
    options.setdefault("absent_beyond", True)
    for name in ("v2", "v3"):
        harness.backend(name)
    harness.use(
        route("v3", name="new", match=Match(json=NEW), inspect_limit=LIMIT, **options),
        route("v2", name="rest", inspect_limit=LIMIT),
    )


@pytest.mark.parametrize("raw", READ.values(), ids=READ)
async def test_a_body_that_can_be_parsed_is_matched(harness: Harness, raw: bytes) -> None:
    await serve_two_routes(harness)
    client = await harness.client()
    await client.send(raw)
    assert (await client.answer()).backend == "v3"
    assert unread_counts(harness) == {}


@pytest.mark.parametrize(("raw", "reason"), UNREAD.values(), ids=UNREAD)
async def test_a_body_that_cannot_be_parsed_is_not_matched_and_counted(
    harness: Harness, raw: bytes, reason: str
) -> None:
    await serve_two_routes(harness)
    client = await harness.client()
    await client.send(raw)
    assert (await client.answer()).backend == "v2"
    assert unread_counts(harness) == {f"new:{reason}": 1}


@pytest.mark.parametrize(("raw", "reason"), UNREAD.values(), ids=UNREAD)
async def test_a_body_that_cannot_be_parsed_has_no_key_and_is_forwarded_unchanged(
    harness: Harness, raw: bytes, reason: str
) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2", sticky=sticky("json", "customer_id"), inspect_limit=LIMIT, absent_beyond=True))
    client = await harness.client()
    await client.send(raw)
    assert (await client.answer()).status == 200
    _, _, body = raw.partition(b"\r\n\r\n")
    (request,) = backend.requests
    assert request.body == (TOO_LARGE if request.chunks is not None or b"chunked" in raw else body)
    assert (await harness.cell("v2")).unkeyed == 1
    assert unread_counts(harness) == {f"churn:{reason}": 1}


@pytest.mark.parametrize("raw", [get(), post(b"")])
async def test_a_request_without_a_body_is_not_counted_as_unread(harness: Harness, raw: bytes) -> None:
    harness.backend("v2")
    harness.use(route("v2", sticky=sticky("json", "customer_id")))
    client = await harness.client()
    await client.send(raw)
    assert (await client.answer()).status == 200
    assert unread_counts(harness) == {}


async def test_a_body_limit_equal_to_the_inspect_limit_refuses_a_larger_body(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", sticky=sticky("json", "customer_id"), body_limit=LIMIT, inspect_limit=LIMIT))
    for raw in (post(TOO_LARGE), chunked_post(TOO_LARGE)):
        client = await harness.client()
        await client.send(raw)
        answer = await client.answer()
        assert (answer.status, answer.error) == (413, b"downstream/limits")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
@pytest.mark.parametrize("inspected", [False, True])
async def test_an_upload_reaches_its_backend_before_it_is_complete(
    harness: Harness, framing: bytes, inspected: bool
) -> None:
    """A body without inspection is forwarded at once. An inspected body is forwarded when it exceeds the inspect limit."""

    async def read_part(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.more()
        await conversation.watch()

    backend = harness.backend("v2", read_part)
    options: dict[str, Any] = {"sticky": sticky("json", "customer_id")} if inspected else {}
    harness.use(route("v2", inspect_limit=LIMIT, **options))
    client = await harness.client()
    part = b"x" * (LIMIT + 1)
    await client.send(
        HEAD + framing + (b"%x\r\n%b\r\n" % (len(part), part) if b"chunked" in framing else part)
    )
    await wait_until(lambda: backend.conversations and part in backend.conversations[0].received)
    client.reset()


async def test_routes_match_the_model_field_of_chat_completions(harness: Harness) -> None:
    """The API of language models has one path for all models. The body names the model and may ask for a stream."""
    harness.backend("small")
    harness.backend("large")
    chat = "/v1/chat/completions"
    harness.use(
        route("small", name="small", match=Match(path=chat, json=(("model", "small-1"),))),
        route("large", name="large", match=Match(path=chat, json=(("model", "large-1"), ("stream", True)))),
    )
    client = await harness.client()
    for fields, backend in (
        ({"model": "small-1", "stream": True}, "small"),
        ({"model": "large-1", "stream": True}, "large"),
        ({"model": "large-1", "stream": 1}, ""),
        ({"model": "large-1"}, ""),
        ({"model": ["small-1"]}, ""),
        ({}, ""),
    ):
        body = {"messages": [{"role": "user", "content": "hi"}], **fields}
        await client.send(post(json.dumps(body).encode(), chat))
        answer = await client.answer()
        assert (answer.backend, answer.status) == (backend, 200 if backend else 404)


async def test_all_spellings_of_a_number_are_one_sticky_key(harness: Harness) -> None:
    for name in ("v2", "v3"):
        harness.backend(name, naming)
    harness.use(route({"v2": BUCKETS // 2, "v3": BUCKETS // 2}, sticky=sticky("json", "rows.0.id")))
    client = await harness.client()
    for customer in range(20):
        backends = set()
        for spelling in (f"{customer}", f'"{customer}"', f"{customer}.0", f"{customer}e0"):
            await client.send(post(b'{"rows": [{"id": %b}]}' % spelling.encode()))
            backends.add((await client.answer()).backend)
        assert len(backends) == 1
    assert sum(len(backend.requests) for backend in harness.backends.values()) == 80


async def test_the_largest_inspect_limit_of_the_candidate_routes_counts(harness: Harness) -> None:
    """The key of the second route is read, though the limit of the first route is smaller than the body."""
    for name in ("v2", "v3", "v4"):
        harness.backend(name)
    harness.use(
        route("v4", name="new", match=Match(json=NEW), inspect_limit=10),
        route({"v2": 5000, "v3": 5000}, name="rest", sticky=sticky("json", "customer_id")),
    )
    client = await harness.client()
    for raw in (post(b'{"customer_id": "c1"}'), chunked_post(b'{"customer_id": "c1"}')):
        await client.send(raw)
        await client.answer()
    table = harness.plane.recorder.table
    assert sum(cell.requests for cell in table.cells.values()) == 2
    assert sum(cell.unkeyed for cell in table.cells.values()) == 0
    assert unread_counts(harness) == {}
