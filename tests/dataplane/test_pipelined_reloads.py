"""Reloads while clients pipeline: each request has its own answer, in the order of the requests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import AccessLog, Backend, Match, OwnAnswer, Route, with_drained
from tests.dataplane.plane import SNAPSHOT, Harness, mirrored, route, sticky
from tests.dataplane.scripted import Conversation, Script, each
from tests.dataplane.test_own_routes import own
from tests.dataplane.wire import Message, chunked, get, ok, post

CLIENTS = 6
REQUESTS = 60
KEYED = sticky("header", "x-user")


def echoing(random: Random) -> Script:
    """Answer with the path and the body of the request, sometimes late, in chunks or in two parts."""

    async def handler(conversation: Conversation, request: Message) -> None:
        await asyncio.sleep(random.choice((0, 0, 0.001, 0.004)))
        said = request.first.split()[1] + b" " + request.body
        if random.random() < 0.3:
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            await conversation.send(head, chunked(said[:2], said[2:]))
        else:
            raw = ok(said)
            cut = random.randrange(len(raw))
            await conversation.send(raw[:cut], raw[cut:])

    return each(handler)


def asked(random: Random, number: int) -> tuple[bytes, bytes]:
    """A request, and the body of its answer."""
    path, user = f"/{number}", b"X-User: %d" % random.randrange(9)
    kind = random.choice(("get", "body", "chunks", "own"))
    if kind == "own":
        return get(f"/own{path}", [user]), b"own"
    if kind == "get":
        return get(path, [user]), path.encode() + b" "
    body = b'{"n": %d, "pad": "%b"}' % (number, b"x" * random.choice((0, 10, 70_000)))
    if kind == "body":
        return post(body, path, [user]), path.encode() + b" " + body
    head = f"POST {path} HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n".encode()
    cut = random.randrange(1, len(body))
    return head + user + b"\r\n\r\n" + chunked(body[:cut], body[cut:]), path.encode() + b" " + body


async def pipeline(harness: Harness, random: Random) -> None:
    client = await harness.client()
    requests = [asked(random, n) for n in range(REQUESTS)]
    raw = b"".join(sent for sent, _ in requests)

    async def send() -> None:
        place = 0
        while place < len(raw):
            size = random.choice((1, 50, 3_000, 100_000))
            await client.pour(raw[place : place + size])
            place += size
            await asyncio.sleep(random.choice((0, 0.002)))

    sending = asyncio.create_task(send())
    for n, (_, expected) in enumerate(requests):
        answer = await client.answer()
        assert (answer.status, n, answer.body[:40]) == (200, n, expected[:40])
        assert answer.body == expected
    await sending
    assert client.buffer == b""


def routes_of(random: Random) -> list[Route]:
    options = random.choice(
        (
            {},
            {"sticky": KEYED},
            {"sticky": sticky("json", "n")},
            {"mirrors": mirrored("v2"), "sticky": KEYED},
            {"fallback": "v2", "pure": True},
            {"fields_set": (("x-set", "1"),)},
            {"inspect_limit": 80_000, "match": Match(json=(("n", "*"),))},
        )
    )
    split = random.choice(({"v2": BUCKETS}, {"v2": 5000, "v3": 5000}, {"v3": 2000, "v2": 8000}))
    own_route = replace(own(OwnAnswer(200, b"own"), match=Match(prefix="/own")), name="own")
    return [own_route, route(split, **options), route("v2", name="rest")]


async def reload(harness: Harness, random: Random, done: asyncio.Event, log: str) -> None:
    specs = dict(harness.specs)
    second = specs["v2"].endpoints[1].name
    while not done.is_set():
        routes = routes_of(random)
        backends: dict[str, Backend] = {
            name: replace(spec, max_in_flight=random.choice((4, 1000)), queue_max=1000, queue_timeout=60.0)
            for name, spec in specs.items()
            if name == "v2" or any(name in r.ledger.backends for r in routes)
        }
        snapshot = replace(
            SNAPSHOT,
            generation=harness.plane.snapshot.generation + 1,
            backends=backends,
            routes=tuple(routes),
            trusted_proxies=random.choice(((), ("127.0.0.1",))),
            access_log=random.choice((None, AccessLog(log, 1.0, False))),
        )
        harness.plane.use(with_drained(snapshot, [("v2", second)] if random.random() < 0.3 else []))
        await asyncio.sleep(random.choice((0, 0.001, 0.01)))


@pytest.mark.parametrize("seed", range(2))
async def test_no_answer_is_lost_or_out_of_order(harness: Harness, seed: int, tmp_path: Path) -> None:
    random, done = Random(seed), asyncio.Event()
    for name in ("v2", "v3"):
        harness.backend(name, echoing(random))
    harness.another_endpoint("v2", echoing(random))
    harness.use(*routes_of(random))
    reloading = asyncio.create_task(reload(harness, random, done, str(tmp_path / "access.log")))
    async with asyncio.timeout(50):
        await asyncio.gather(*(pipeline(harness, Random(seed * 100 + n)) for n in range(CLIENTS)))
    done.set()
    await reloading
    await harness.quiet()
    assert harness.plane.snapshot.generation > 20
