"""Each backend that is asked gets the request in its own form: at first, at a retry, as fallback, as mirror, as tunnel."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.routing.snapshot import Match, Rewrite
from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.scripted import Conversation, ScriptedBackend, answering, closing
from tests.dataplane.upgrades import ANSWER_101, UPGRADE_FIELDS, echo, upgrading
from tests.dataplane.wire import chunked, get, ok, post, wait_until

FIELDS = [b"Authorization: Bearer client", b"Cookie: a=b", b"X-Kept: 1"]
RAW = post(b"hello", "/predict?x=1", FIELDS)
TRITON: dict[str, Any] = {"base": "/v2/models/churn", "request": Rewrite(host="endpoint", replace="/infer")}
HOSTED: dict[str, Any] = {
    "base": "",
    "request": Rewrite(
        host="api.example.com",
        set=(("authorization", "Bearer k"),),
        add=(("x-kept", "2"),),
        remove=("cookie",),
    ),
}


def rewrite(harness: Harness, name: str, base: str = "", request: Rewrite | None = None) -> None:
    """Give all endpoints of the backend this path, and the backend this rewriting."""
    spec = harness.specs[name]
    endpoints = tuple(replace(e, base=base) for e in spec.endpoints)
    harness.specs[name] = replace(spec, endpoints=endpoints, request=request)


def seen(backend: ScriptedBackend, n: int = 0) -> tuple[bytes, bytes | None, dict[str, list[bytes]]]:
    """The request line, the Host, and the fields that the tests rewrite, of the n-th request."""
    request = backend.requests[n]
    return (
        request.first,
        request.field("host"),
        {k: request.all(k) for k in ("authorization", "cookie", "x-kept")},
    )


def as_sent(line: bytes) -> tuple[bytes, bytes, dict[str, list[bytes]]]:
    return line, b"models", {"authorization": [b"Bearer client"], "cookie": [b"a=b"], "x-kept": [b"1"]}


def for_triton(backend: ScriptedBackend) -> tuple[bytes, bytes, dict[str, list[bytes]]]:
    line, _, fields = as_sent(b"POST /v2/models/churn/infer?x=1 HTTP/1.1")
    return line, f"127.0.0.1:{backend.port}".encode(), fields


FOR_HOSTED = (
    b"POST /predict?x=1 HTTP/1.1",
    b"api.example.com",
    {"authorization": [b"Bearer k"], "cookie": [], "x-kept": [b"1", b"2"]},
)


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    "raw",
    [
        RAW,
        RAW.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked").replace(
            b"hello", chunked(b"he", b"llo")
        ),
    ],
)
async def test_a_backend_gets_its_own_form(harness: Harness, raw: bytes, bytewise: bool) -> None:
    triton = harness.backend("triton")
    rewrite(harness, "triton", **TRITON)
    harness.use(route("triton"))
    client = await harness.client()
    for n in range(2):  # over a new connection and over a pooled one
        await (client.send_bytewise(raw) if bytewise else client.send(raw))
        assert (await client.answer()).body == b"triton"
        assert seen(triton, n) == for_triton(triton)
        assert triton.requests[n].body == b"hello"


async def test_the_client_s_host_stays_in_the_forwarded_fields(harness: Harness) -> None:
    hosted = harness.backend("hosted")
    rewrite(harness, "hosted", **HOSTED)
    harness.use(route("hosted"))
    client = await harness.client()
    await client.send(RAW)
    await client.answer()
    (request,) = hosted.requests
    assert seen(hosted) == FOR_HOSTED
    assert request.all("x-forwarded-host") == [b"models"]
    assert (request.field("forwarded") or b"").endswith(b'host="models"')


async def test_a_retry_is_written_for_the_endpoint_that_is_asked_then(harness: Harness) -> None:
    """Both endpoints have paths of their own; the one that closes without an answer is asked first."""
    first = harness.backend("triton", closing(b""))
    second = harness.another_endpoint("triton")
    spec = harness.specs["triton"]
    a, b = spec.endpoints
    harness.specs["triton"] = replace(spec, endpoints=(replace(a, base="/a"), replace(b, base="/b/")))
    harness.use(route("triton", pure=True))
    client = await harness.client()
    while not first.requests:
        await client.send(RAW)
        assert (await client.answer()).status == 200
    assert {request.first for request in first.requests} == {b"POST /a/predict?x=1 HTTP/1.1"}
    assert {request.first for request in second.requests} == {b"POST /b/predict?x=1 HTTP/1.1"}


@pytest.mark.parametrize(
    ("assigned", "fallback"), [("triton", "hosted"), ("hosted", "triton"), ("hosted", "plain")]
)
async def test_a_fallback_gets_its_own_form(harness: Harness, assigned: str, fallback: str) -> None:
    names: dict[str, dict[str, Any]] = {"triton": TRITON, "hosted": HOSTED, "plain": {}}
    forms: dict[str, Any] = {"hosted": FOR_HOSTED, "plain": as_sent(b"POST /predict?x=1 HTTP/1.1")}
    asked = harness.backend(assigned, answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"))
    answered = harness.backend(fallback)
    for name, backend in ((assigned, asked), (fallback, answered)):
        rewrite(harness, name, **names[name])
        if name == "triton":
            forms[name] = for_triton(backend)
    harness.use(route(assigned, fallback=fallback, pure=True))
    client = await harness.client()
    await client.send(RAW)
    assert (await client.answer()).body == fallback.encode()
    assert seen(asked) == forms[assigned]
    assert seen(answered) == forms[fallback]


async def test_a_mirror_gets_its_own_form(harness: Harness) -> None:
    hosted, triton = harness.backend("hosted"), harness.backend("triton")
    rewrite(harness, "hosted", **HOSTED)
    rewrite(harness, "triton", **TRITON)
    harness.use(route("hosted", mirrors=mirrored("triton")))
    client = await harness.client()
    await client.send(RAW)
    assert (await client.answer()).body == b"hosted"
    await wait_until(lambda: triton.requests, "the copy")
    assert seen(hosted) == FOR_HOSTED
    assert seen(triton) == for_triton(triton)
    assert triton.requests[0].all("x-crossfade-mirror") == [b"1"]
    assert triton.requests[0].body == b"hello"
    await harness.quiet()


async def test_a_prefix_is_that_of_the_route(harness: Harness) -> None:
    """Two routes to one backend, each with a prefix of its own."""
    backend = harness.backend("v2")
    rewrite(harness, "v2", "/base/", Rewrite(prefix="/v2/"))
    harness.use(
        route("v2", "one", match=Match(prefix="/a")),
        route("v2", "two", match=Match(prefix="/b/c/")),
        route("v2", "three", match=Match(path="/x/y")),
        route("v2", "rest"),
    )
    client = await harness.client()
    for path in ("/a/infer", "/b/c/infer", "/x/y?q", "/z", "/a"):
        await client.send(get(path))
        await client.answer()
    assert [request.first.split()[1] for request in backend.requests] == [
        b"/base/v2/infer",
        b"/base/v2/infer",
        b"/base/v2?q",
        b"/base/v2/z",
        b"/base/v2",
    ]


async def test_an_upgrade_gets_the_backend_s_form(harness: Harness) -> None:
    backend = harness.backend("chat", upgrading(echo))
    rewrite(
        harness,
        "chat",
        "/rooms",
        Rewrite(host="chat.example.com", set=(("authorization", "Bearer k"),), remove=("cookie",)),
    )
    harness.use(route("chat"))
    client = await harness.client()
    await client.send(get("/chat?room=1", [*UPGRADE_FIELDS, b"Cookie: a=b"]))
    assert (await client.head()).status == 101
    await client.send(b"frames")
    assert await client.exactly(6) == b"frames"
    (request,) = backend.requests
    assert (request.first, request.field("host")) == (b"GET /rooms/chat?room=1 HTTP/1.1", b"chat.example.com")
    assert (request.all("authorization"), request.all("cookie")) == ([b"Bearer k"], [])
    assert (request.all("upgrade"), request.all("connection")) == ([b"websocket"], [b"Upgrade"])
    assert ANSWER_101
    client.close()
    await wait_until(lambda: not harness.plane.tunnels, "the tunnel ends")


async def test_an_edit_acts_on_the_next_request(harness: Harness) -> None:
    """Over the connection that is pooled already."""
    backend = harness.backend("v2")
    client = await harness.client()
    for number, request in enumerate((None, Rewrite(replace="/a"), Rewrite(replace="/b"), None)):
        rewrite(harness, "v2", request=request)
        harness.use(route("v2"))
        await client.send(get("/predict"))
        await client.answer()
        path = b"/predict" if request is None else (request.replace or "").encode()
        assert backend.requests[number].first == b"GET %b HTTP/1.1" % path
    assert len(backend.conversations) == 1


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/../../admin", None),
        ("/%2e%2e/admin", None),
        ("/x/../../admin", None),
        ("//../admin", None),
        ("/x/%2E%2e/admin", b"/v2/models/churn/admin"),
        ("/./x/y/..", b"/v2/models/churn/x/"),
        ("/x//..", b"/v2/models/churn/x/"),
    ],
)
async def test_a_client_cannot_leave_the_endpoint_s_path(
    harness: Harness, target: str, sent: bytes | None
) -> None:
    backend = harness.backend("v2")
    rewrite(harness, "v2", "/v2/models/churn")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get(target))
    assert (await client.answer()).status == (400 if sent is None else 200)
    assert [request.first.split()[1] for request in backend.requests] == ([] if sent is None else [sent])


async def test_the_answer_names_the_backend_and_no_path_of_it(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"x")))
    rewrite(harness, "v2", "/secret/place", Rewrite(set=(("authorization", "Bearer k"),)))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(RAW)
    answer = await client.answer()
    assert answer.backend == "v2"
    assert b"secret" not in answer.head


@pytest.mark.parametrize("bytewise", [False, True])
async def test_trailers_cannot_bring_back_what_is_replaced(harness: Harness, bytewise: bool) -> None:
    """Nor what only a trusted proxy may send."""
    raw_trailers = b""

    async def script(conversation: Conversation) -> None:
        nonlocal raw_trailers
        await conversation.head()
        raw_trailers = await conversation.until(b"x-kept: 1\r\n\r\n")
        await conversation.send(ok(b"x"))
        await conversation.watch()

    harness.backend("v2", script)
    rewrite(harness, "v2", request=Rewrite(set=(("x-api-key", "k"),)))
    harness.use(route("v2"), trusted_headers=("x-real-ip",))
    client = await harness.client()
    body = chunked(b"hello").removesuffix(b"\r\n")
    fields = (
        b"X-Api-Key: mine\r\nx_api_key: mine\r\nX-Real-IP: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nx-kept: 1\r\n\r\n"
    )
    raw = b"POST / HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n" + body + fields
    await (client.send_bytewise(raw) if bytewise else client.send(raw))
    assert (await client.answer()).status == 200
    assert raw_trailers.endswith(b"\r\n0\r\nx-kept: 1\r\n\r\n")


async def test_a_path_that_is_too_long_for_the_pattern_is_refused(harness: Harness) -> None:
    backend = harness.backend("v2")
    rewrite(harness, "v2", request=Rewrite(regex=("/v1/(.*)", r"/\1")))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get("/v1/" + "x" * 100))
    assert (await client.answer()).status == 200
    await client.send(get("/v1/" + "x" * 9000))
    assert (await client.answer()).status == 414
    assert [len(request.first.split()[1]) for request in backend.requests] == [101]
