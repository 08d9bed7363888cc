"""Upgrade requests, the 101 that answers them, and backends that open tunnels."""

from __future__ import annotations

import asyncio
import base64
import hashlib

from tests.dataplane.plane import Harness
from tests.dataplane.scripted import Conversation, Script
from tests.dataplane.wire import Ended, Wire, get, wait_until

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
UPGRADE_FIELDS = [b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Key: " + KEY]
UPGRADE_REQUEST = get("/chat", [*UPGRADE_FIELDS, b"Sec-WebSocket-Version: 13"])
ANSWER_101 = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)
SIZE = 8 * 1024 * 1024
BIG = bytes(range(256)) * (SIZE // 256)
BUFFER_LIMIT = 1024 * 1024  # the most bytes in a transport: its high-water mark and one read
SMALL_BUFFER = 64 * 1024


def upgrading(then: Script, first: bytes = b"") -> Script:
    """Answer with 101, send `first` in the same write, then run `then`."""

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(ANSWER_101 + first)
        await then(conversation)

    return script


async def echo(conversation: Conversation) -> None:
    """Send back all received bytes until the proxy ends its half, then close."""
    try:
        while True:
            data, conversation.buffer = conversation.buffer, b""
            await conversation.send(data)
            await conversation.more()
    except Ended as end:
        conversation.ended = end.how
    conversation.close()


async def watch(conversation: Conversation) -> None:
    """Read until the proxy ends its half, then close."""
    await conversation.watch()
    conversation.close()


def resetting(when: asyncio.Event) -> Script:
    async def script(conversation: Conversation) -> None:
        await when.wait()
        conversation.reset()

    return script


async def open_tunnel(harness: Harness, client: Wire | None = None) -> Wire:
    client = client or await harness.client()
    await client.send(UPGRADE_REQUEST)
    message = await client.head()
    assert message.status == 101
    return client


async def tunnel_gone(harness: Harness) -> None:
    await wait_until(lambda: not harness.plane.tunnels and not harness.plane.clients, "the tunnel is gone")
