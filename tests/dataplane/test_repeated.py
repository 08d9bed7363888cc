"""What one connection repeats is not read again; what it changes is read."""

from __future__ import annotations

from tests.dataplane.plane import Harness, route
from tests.dataplane.scripted import Conversation, each
from tests.dataplane.wire import Message, get, ok


async def test_each_request_of_a_connection_has_its_own_host(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    hosts = [b"a", b"a", b"bb", b"a", b"bb"]
    for host in hosts:
        await client.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        assert (await client.answer()).status == 200
    await client.send(
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    )  # without a host: that of the endpoint
    assert (await client.answer()).status == 200
    endpoint = b"127.0.0.1:%d" % backend.port
    for host, request in zip([*hosts, endpoint], backend.requests, strict=True):
        assert request.all("X-Forwarded-Host") == [host]
        assert request.all("Forwarded") == [b'for=127.0.0.1;proto=http;host="%b"' % host]
        assert request.all("Host") == [host]


async def test_no_field_of_a_request_is_in_the_next(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    client = await harness.client()
    sent = [[b"Cookie: a=1", b"X-A: 1"], [b"X-A: 1"], [], [b"X-A: 2", b"X-A: 1", b"X-A: 2"], [b"Cookie: a=2"]]
    for fields in sent:
        await client.send(get(fields=fields))
        assert (await client.answer()).status == 200
    for fields, request in zip(sent, backend.requests, strict=True):
        for name in ("Cookie", "X-A"):
            assert request.all(name) == [f.partition(b": ")[2] for f in fields if f.startswith(name.encode())]


async def test_each_answer_has_its_own_head(harness: Harness) -> None:
    """An endpoint's last head begins the next one, or differs late; the answer to HEAD has no body in any case."""
    answers = [
        ok(b"one"),
        ok(b"two"),
        ok(b"other"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: 1\r\n\r\nthr",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: 2\r\n\r\nfou",
        b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n",
        ok(b"one"),
    ]
    left = iter(answers)

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(
            ok(b"one").partition(b"one")[0] if request.first[:4] == b"HEAD" else next(left)
        )

    harness.backend("v2", each(handler))
    harness.use(route("v2"))
    client = await harness.client()
    for raw in answers:
        await client.send(get())
        answer = await client.answer()
        head, _, body = raw.partition(b"\r\n\r\n")
        assert answer.head.startswith(head + b"\r\n") and answer.body == body
        await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer("HEAD")).field("Content-Length") == b"3"
