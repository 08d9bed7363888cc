"""Random faults at the same time: faulty backends, clients that leave, reloads.

The laws: a complete answer belongs to its request; a POST that is not pure reaches one backend, at most once; each
request has one outcome and nothing stays open (`Harness.close` checks these two).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.scripted import Conversation, Script
from tests.dataplane.wire import Ended, Message, Wire, chunked, ok, reached, wait_until

CLIENTS = 8
REQUESTS = 25  # per client
STRAY = ok(b"stray answer")
STATUSES = {200, 413, 500, 502, 503, 504}


def echo(request: Message) -> bytes:
    """The path and the body of a request: no other request has the same."""
    return request.first.split(b" ")[1] + b"=" + request.body


def as_chunks(body: bytes) -> bytes:
    chunks = [body[:9], body[9:]] if len(body) > 9 else [body]
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(*chunks)


Behaviour = tuple[Callable[[bytes], bytes], Callable[[Conversation], None] | None]
GOOD_BEHAVIOURS: list[Behaviour] = [(ok, None), (as_chunks, None)]
BEHAVIOURS: list[Behaviour] = [
    *GOOD_BEHAVIOURS * 3,
    (lambda body: ok(body, [b"Connection: close"]), Conversation.close),
    (lambda body: b"HTTP/1.1 200 OK\r\n\r\n" + body, Conversation.close),
    (lambda body: ok(body) + STRAY, None),
    (lambda body: b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", None),
    (lambda body: b"nonsense\r\n\r\n", None),
    (lambda body: ok(body)[:-1], Conversation.close),
    (lambda body: as_chunks(body)[:-2], Conversation.reset),
    (lambda body: b"", Conversation.close),
    (lambda body: b"", Conversation.reset),
    (lambda body: b"", None),
]


def random_behaviour(rng: Random) -> Script:
    """Answer with the content of the request in a random framing, or fail in a random way."""

    async def script(conversation: Conversation) -> None:
        ending = None
        while ending is None:
            request = await conversation.request()
            for _ in range(rng.choice([0, 0, 0, 3, 30])):
                await asyncio.sleep(0)
            answer, ending = rng.choice(BEHAVIOURS)
            raw = answer(echo(request))
            if raw.endswith(STRAY):
                # In one write: a stray answer that arrives later looks like the answer to the next request.
                await conversation.send(raw)
            else:
                await in_pieces(conversation, raw, rng)
        ending(conversation)

    return script


async def in_pieces(wire: Wire, raw: bytes, rng: Random) -> None:
    for _ in range(rng.choice([0, 0, 1, 4])):
        cut = rng.randrange(len(raw) + 1)
        await wire.send(raw[:cut])
        raw = raw[cut:]
        await asyncio.sleep(0)
    await wire.send(raw)


def request_of(token: bytes, rng: Random) -> tuple[bytes, bytes]:
    """A request in a random framing, and its body."""
    body = rng.randbytes(rng.choice([0, 1, 10, 1000, 70_000]))
    match rng.randrange(3):
        case 0:
            return b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % token, b""
        case 1:
            return b"POST /%b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (
                token,
                len(body),
                body,
            ), body
        case _:
            head = b"POST /%b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" % token
            return head + (chunked(body) if body else b"0\r\n\r\n"), body


async def client_session(harness: Harness, number: int, rng: Random, seen: Counter[int]) -> None:
    client = await harness.client()
    for n in range(REQUESTS):
        sent = [request_of(b"%d-%d-%d" % (number, n, m), rng) for m in range(rng.choice([1, 1, 3]))]
        try:
            await in_pieces(client, b"".join(raw for raw, _ in sent), rng)
            if rng.random() < 0.1:
                client.close()
                client = await harness.client()
                continue
            for raw, body in sent:
                answer = await client.answer()
                seen[answer.status] += 1
                assert answer.status in STATUSES
                if answer.status == 200:
                    assert answer.body == raw.split(b" ")[1] + b"=" + body
        except (Ended, ConnectionError):
            seen[0] += 1
            client.close()
            client = await harness.client()
    client.close()


@pytest.mark.parametrize("pure", [False, True], ids=["not pure", "pure"])
@pytest.mark.parametrize("seed", range(2))
async def test_laws_hold_under_random_faults(harness: Harness, seed: int, pure: bool) -> None:
    rng = Random(seed)
    for name in ("v2", "v3", "v4"):
        harness.backend(name, random_behaviour(rng), first_byte_timeout=0.2, idle_timeout=0.2)
    all_specs = dict(harness.specs)
    seen: Counter[int] = Counter()
    trial = route(
        {"v2": 5000, "v3": 5000}, fallback="v2", pure=pure, mirrors=mirrored("v4", 5000), replay_limit=20_000
    )
    harness.use(trial)
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(client_session(harness, number, Random(f"{seed} {number}"), seen))
        for n in range(20):
            await reached(seen, CLIENTS * (n + 1))
            harness.specs = {k: v for k, v in all_specs.items() if k != "v4" or n % 2}
            harness.use(trial if n % 2 else route("v2", pure=pure))
    await wait_until(lambda: not harness.plane.clients, "all client connections are closed")
    await harness.quiet()
    assert seen[200] > REQUESTS
    if not pure:
        received = Counter(
            request.first
            for backend in (harness.backends["v2"], harness.backends["v3"])
            for request in backend.requests
            if request.first.startswith(b"POST")
        )
        assert max(received.values()) == 1
