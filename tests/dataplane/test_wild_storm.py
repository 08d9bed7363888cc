"""Random faults as in `test_storm`, with more features: tunnels, trailers, half-closed and slow clients, HTTP/1.0,
rate limits, ejections, cuts of a challenger, access log.

The same laws: a complete answer belongs to its request, each request has one outcome, nothing stays open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from crossfade.routing.snapshot import AccessLog, Cut, Eject, Rate, Sticky
from tests.dataplane.plane import Harness, mirrored, route, sticky
from tests.dataplane.scripted import Conversation, Script
from tests.dataplane.test_cut_after import taken_back
from tests.dataplane.test_storm import BEHAVIOURS, GOOD_BEHAVIOURS, STRAY, echo, in_pieces
from tests.dataplane.upgrades import ANSWER_101, UPGRADE_FIELDS
from tests.dataplane.wire import Ended, Message, Wire, chunked, get, reached, wait_until

CLIENTS = 8
REQUESTS = 20  # per client
STATUSES = {200, 408, 413, 429, 500, 502, 503, 504}
ANSWER_WITH_TRAILERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def random_behaviour(rng: Random) -> Script:
    """Accept an upgrade, answer with trailers, or behave as in `test_storm`."""

    async def script(conversation: Conversation) -> None:
        ending = None
        while ending is None:
            head = await conversation.head()
            if head.field("upgrade") is not None and rng.random() < 0.7:
                await echo_tunnel(conversation, rng)
                return
            if head.field("transfer-encoding"):
                await trailing_body(conversation, head)
            elif head.field("content-length"):
                await conversation.body(head)
            conversation.requests.append(head)
            if rng.random() < 0.2:
                body = chunked(echo(head)).removesuffix(b"\r\n") + b"x-sum: 1\r\n\r\n"
                await in_pieces(conversation, ANSWER_WITH_TRAILERS + body, rng)
                continue
            answer, ending = rng.choice(BEHAVIOURS if rng.random() < 0.5 else GOOD_BEHAVIOURS)
            raw = answer(echo(head))
            if raw.endswith(STRAY):
                await conversation.send(raw)
            else:
                await in_pieces(conversation, raw, rng)
        ending(conversation)

    return script


async def echo_tunnel(conversation: Conversation, rng: Random) -> None:
    """Accept the upgrade and echo; end the tunnel at a random point."""
    await in_pieces(conversation, ANSWER_101, rng)
    try:
        while rng.random() < 0.9:
            data, conversation.buffer = conversation.buffer, b""
            await conversation.send(data)
            await conversation.more()
    except Ended:
        conversation.close()
        return
    rng.choice([Wire.close, Wire.reset, half_close])(conversation)


def half_close(wire: Wire) -> None:
    with contextlib.suppress(OSError):  # the other side may have reset the connection
        wire.half_close()


async def trailing_body(wire: Wire, message: Message) -> None:
    """Read a chunked body and its trailers."""
    pieces = []
    while size := int(await wire.until(b"\r\n"), 16):
        pieces.append(await wire.exactly(size))
        assert await wire.exactly(2) == b"\r\n"
    message.body = b"".join(pieces)
    while await wire.until(b"\r\n") != b"\r\n":
        pass


async def final_answer(client: Wire) -> Message:
    """Read the next final answer and its trailers, if any; skip each 1xx but 101."""
    message = await client.head()
    while message.status < 200 and message.status != 101:
        message = await client.head()
    if message.status == 101:
        return message
    if (message.field("transfer-encoding") or b"") == b"chunked":
        await trailing_body(client, message)
    else:
        await client.body(message)
    return message


def request_of(token: bytes, rng: Random) -> tuple[bytes, bytes]:
    body = rng.randbytes(rng.choice([0, 1, 1000, 70_000]))
    key = b"x-customer: c%d" % rng.randrange(40)
    line = b"POST /%b HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\n%b\r\n" % (token, key)
    match rng.randrange(5):
        case 0:
            return get("/" + token.decode(), [key]), b""
        case 1:
            return get("/" + token.decode(), [key]).replace(b"HTTP/1.1", b"HTTP/1.0"), b""
        case 2:
            return line + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body), body
        case 3:
            chunks = chunked(body) if body else b"0\r\n\r\n"
            return line + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, body
        case _:
            chunks = (chunked(body) if body else b"0\r\n\r\n").removesuffix(b"\r\n") + b"x-sum: 1\r\n\r\n"
            return line + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, body


async def one_connection(harness: Harness, token: bytes, rng: Random, seen: Counter[int]) -> None:
    """Send one or two requests, or open a tunnel, on a new connection."""
    client = await harness.client(receive_buffer=rng.choice([0, 4096]))
    try:
        if rng.random() < 0.25:
            await tunnel(client, rng, seen)
            return
        for n in range(rng.choice([1, 1, 2])):
            raw, body = request_of(b"%b-%d" % (token, n), rng)
            await in_pieces(client, raw, rng)
            match rng.randrange(6):
                case 0:
                    half_close(client)
                case 1:
                    await asyncio.sleep(0.01)
                case 2 if rng.random() < 0.3:
                    return
            answer = await final_answer(client)
            seen[answer.status] += 1
            assert answer.status in STATUSES, answer
            if answer.status == 200:
                assert answer.body == raw.split(b" ")[1] + b"=" + body
    except (Ended, ConnectionError):
        seen[0] += 1
    finally:
        (client.reset if rng.random() < 0.2 else client.close)()


async def tunnel(client: Wire, rng: Random, seen: Counter[int]) -> None:
    early = rng.choice([b"", b"early"])
    await in_pieces(client, get("/chat", UPGRADE_FIELDS) + early, rng)
    answer = await final_answer(client)
    seen[answer.status] += 1
    if answer.status != 101:
        return
    sent = early
    for _ in range(rng.randrange(5)):
        piece = rng.randbytes(rng.choice([1, 100, 50_000]))
        sent += piece
        await client.send(piece)
    if rng.random() < 0.7:
        half_close(client)
    data, _ = await client.rest()
    assert sent.startswith(data)


async def client_session(harness: Harness, number: int, rng: Random, seen: Counter[int]) -> None:
    for n in range(REQUESTS):
        await one_connection(harness, b"%d-%d" % (number, n), rng, seen)
        seen[-1] += 1


@pytest.mark.parametrize("seed", range(2))
async def test_laws_hold_under_random_faults_and_features(
    harness: Harness, seed: int, tmp_path: Path
) -> None:
    rng = Random(seed)
    eject = Eject(after=2, time=0.1, max_share=0.5, statuses=(500,))
    for name in ("v2", "v3", "v4"):
        harness.backend(name, random_behaviour(rng), first_byte_timeout=0.2, idle_timeout=0.2, eject=eject)
        harness.another_endpoint(name, random_behaviour(rng))
    trial = route(
        {"v2": 5000, "v3": 5000}, fallback="v2", pure=True, mirrors=mirrored("v4", 5000),
        replay_limit=20_000, sticky=sticky("header", "x-customer"),
        rate=Rate(Sticky("header", "x-customer"), per_second=50, burst=5),
    )  # fmt: skip
    log = AccessLog(str(tmp_path / "access.log"), 1.0, False)
    seen: Counter[int] = Counter()
    harness.use(trial, access_log=log)
    cut_route = taken_back(trial, Cut("v3", 0.0))
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(client_session(harness, number, Random(f"{seed} {number}"), seen))
        for n in range(10):
            await reached(seen, CLIENTS * (n + 1))
            trusted = ("127.0.0.1/32",) if n % 2 else ()
            harness.use(
                cut_route if n % 2 else trial, access_log=log if n % 3 else None, trusted_proxies=trusted
            )
    await wait_until(
        lambda: not harness.plane.clients and not harness.plane.tunnels,
        "all connections and tunnels are closed",
    )
    await harness.quiet()
    assert seen[200] > REQUESTS
    assert seen[101]
