"""A client that sends on behind an early answer gets the answer, within the limits of lingering."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import time
from collections.abc import Iterator

import pytest

from crossfade.dataplane import lingering
from tests.dataplane.plane import Harness, route
from tests.dataplane.wire import Ended, Wire, wait_until

SILENCE, WHOLE = 0.4, 1.2  # seconds, with room for a loaded machine
MiB = 1024 * 1024
HEAD = b"POST /predict HTTP/1.1\r\nHost: models\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "SILENCE", SILENCE)
    monkeypatch.setattr(lingering, "WHOLE", WHOLE)


async def refused_upload(harness: Harness) -> Wire:
    harness.backend("v2")
    harness.use(route("v2", body_limit=MiB))
    client = await harness.client()
    await client.send(HEAD % (512 * MiB))
    return client


async def expect_413(client: Wire) -> None:
    answer = await client.answer()
    assert (answer.status, answer.error) == (413, b"downstream/limits")


async def send_until_it_fails(client: Wire, pause: float, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    with contextlib.suppress(OSError, TimeoutError):
        while time.monotonic() < end:
            await client.send(b"z" * 1000)
            await asyncio.sleep(pause)


async def test_a_client_that_sends_on_gets_the_answer(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lingering, "WHOLE", 3600.0)
    client = await refused_upload(harness)
    await send_until_it_fails(client, SILENCE / 8, SILENCE * 2)
    await expect_413(client)
    assert await client.rest() == (b"", "closed")


async def test_a_client_that_is_silent_is_closed(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "WHOLE", 3600.0)
    client = await refused_upload(harness)
    await expect_413(client)
    await wait_until(lambda: not harness.plane.clients)


async def test_a_client_that_never_stops_is_closed(harness: Harness) -> None:
    client = await refused_upload(harness)
    sending = asyncio.create_task(send_until_it_fails(client, SILENCE / 8))
    await wait_until(lambda: not harness.plane.clients)
    sending.cancel()


async def test_no_more_than_the_stated_amount_is_read(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lingering, "MOST", 2 * MiB)
    monkeypatch.setattr(lingering, "WHOLE", 3600.0)
    client = await refused_upload(harness)
    with contextlib.suppress(OSError):
        await client.pour(b"z" * (64 * MiB))
    assert client.sent < 16 * MiB
    with contextlib.suppress(Ended):
        await client.more()
    assert client.received[:12] in (b"", b"HTTP/1.1 413")


class SlowBody:
    """As a file that is read at 4 MB/s."""

    def __init__(self, size: int) -> None:
        self.left = size

    def __iter__(self) -> Iterator[bytes]:
        while self.left > 0:
            self.left -= 65536
            time.sleep(0.016)
            yield b"z" * 65536


async def test_http_client_sends_all_and_then_gets_the_answer(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client that fails most: it looks for no answer before it has sent all."""
    monkeypatch.setattr(lingering, "SILENCE", 30.0)
    monkeypatch.setattr(lingering, "WHOLE", 60.0)
    harness.backend("v2")
    harness.use(route("v2", body_limit=MiB))

    def post() -> int:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", harness.port, timeout=10)) as client:
            client.request("POST", "/predict", SlowBody(3 * MiB), {"Content-Length": str(3 * MiB)})
            return client.getresponse().status

    assert await asyncio.to_thread(post) == 413
