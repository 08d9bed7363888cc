"""Law of the response cache: whoever asks gets what the assigned model would say to this request under this ledger."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from crossfade.routing.ledger import BUCKETS, reweigh
from crossfade.routing.snapshot import Cache, Route
from tests.dataplane.plane import Harness, route, sticky
from tests.dataplane.scripted import Conversation, Script, each
from tests.dataplane.wire import Message, chunked, get, ok, post

ANSWERED_BY = (b"accept", b"x-tenant", b"x-customer", b"authorization", b"cookie")  # what this model reads
SAID_OF_CACHES = (
    b"Cache-Control: max-age=60",
    b"Cache-Control: private",
    b"Vary: Accept",
    b"Vary: x-tenant, x-b",
)
FIELDS = (
    *(b"Accept: a", b"Accept: b", b"X-Tenant: a", b"X-Tenant: b", b"Authorization: a", b"Cookie: a=1"),
    *(b"Cache-Control: no-cache", b"Cache-Control: no-store", b"User-Agent: u", b"x-request-id: r"),
)
STEPS = 1000


class Models:
    """All versions. What one says is a function of its name, of the ledger in force, and of what it was asked."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.version = 1

    def says(self, name: str, request: Message) -> bytes:
        read = sorted((n.lower(), v) for n, v in request.fields if n.lower() in ANSWERED_BY)
        method, target, _ = request.first.split(b" ")
        return repr((name, self.version, method, target, read, request.body)).encode()

    def script(self) -> Script:
        async def handler(conversation: Conversation, request: Message) -> None:
            said = self.says(conversation.backend.name, request)
            fields = [self.draw.choice(SAID_OF_CACHES)] if self.draw.random() < 0.3 else []
            if self.draw.random() < 0.5:
                await conversation.send(ok(said, fields))
                return
            lines = b"".join(field + b"\r\n" for field in fields)
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n" % lines
            await conversation.send(head, chunked(said[:7], said[7:]))

        return each(handler)

    def request(self) -> bytes:
        draw = self.draw
        customer = b"X-Customer: %d" % draw.randrange(3)
        fields = [customer, *(field for field in FIELDS if draw.random() < 0.06)]
        path = draw.choice(["/predict", "/predict?a=1", "/Predict"])
        return get(path, fields) if draw.random() < 0.4 else post(draw.choice([b"a", b"b"]), path, fields)

    def next_ledger(self, served: Route) -> Route:
        """A step, a promote or an abort."""
        share = self.draw.choice([0, 3000, BUCKETS])
        ledger = reweigh(served.ledger, {"v2": BUCKETS - share, "v3": share}, served.salt)
        self.version += 1
        return replace(served, ledger=replace(ledger, version=self.version))


@pytest.mark.parametrize("seed", range(3))
async def test_every_answer_is_that_of_the_assigned_model_to_this_request(
    harness: Harness, seed: int
) -> None:
    models = Models(seed)
    for name in ("v2", "v3"):
        harness.backend(name, models.script())
    served = route(
        {"v2": 5000, "v3": 5000},
        pure=True,
        sticky=sticky("header", "x-customer"),
        cache=Cache(3600.0, 1024 * 1024, True, ("x-tenant",)),
    )
    harness.use(served)
    client = await harness.client()
    hits = 0
    for _ in range(STEPS):
        if models.draw.random() < 0.02:
            served = models.next_ledger(served)
            harness.use(served)
        raw = models.request()
        if models.draw.random() < 0.1:
            await client.send_bytewise(raw)
        else:
            await client.send(raw)
        answer = await client.answer()
        head, _, body = raw.partition(b"\r\n\r\n")
        assert answer.body == models.says(answer.backend, Message(head + b"\r\n\r\n", body))
        hits += answer.field("x-crossfade-cache") == b"hit"
    assert hits > STEPS // 10
