"""Clients that send requests all the time and write down how each ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Mapping, Sequence

from tests.soak.laws import PATIENCE
from tests.soak.models import END
from tests.soak.record import End, Record, Request

PATHS = ("/predict", "/strict", "/moving", "/plain")
CUSTOMERS = 400
PAUSE = 0.04  # seconds between two requests of a client
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Clients:
    def __init__(self, record: Record, port: int, seed: str) -> None:
        self.record, self.port, self.seed = record, port, seed
        self.stopping = False

    async def run(self, steady: int, once: int, pipelining: int, leaving: int) -> None:
        """So many clients of each kind, until `stopping`."""
        kinds = [(5, 1)] * steady + [(1, 1)] * once + [(4, 3)] * pipelining
        async with asyncio.TaskGroup() as tasks:
            for number, (rounds, at_once) in enumerate(kinds):
                generator = random.Random(f"{self.seed}/client {number}")
                tasks.create_task(self.ask_on(generator, rounds * 10 if rounds > 1 else 1, at_once))
            for number in range(leaving):
                tasks.create_task(self.leave_on(random.Random(f"{self.seed}/leaving {number}")))

    async def ask_on(self, generator: random.Random, rounds: int, at_once: int) -> None:
        """Connection after connection, each for so many rounds of `at_once` requests."""
        while not self.stopping:
            first = self.draw(generator, at_once)
            streams = await self.connect(first)
            if streams is None:
                await asyncio.sleep(PAUSE * 5)
                continue
            for number in range(rounds):
                batch = first if number == 0 else self.draw(generator, at_once)
                is_open = await self.exchange(streams, batch, generator, last=number == rounds - 1)
                await asyncio.sleep(PAUSE * generator.uniform(0.5, 1.5))
                if not is_open or self.stopping:
                    break
            streams[1].close()

    def draw(self, generator: random.Random, count: int) -> list[Request]:
        path, key = generator.choice(PATHS), f"c{generator.randrange(CUSTOMERS)}"
        return [self.record.new_request(path, key) for _ in range(count)]

    async def connect(self, batch: Sequence[Request]) -> Streams | None:
        try:
            return await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            for request in batch:
                request.finish(End.REFUSED)
            return None

    async def exchange(
        self, streams: Streams, batch: Sequence[Request], generator: random.Random, last: bool
    ) -> bool:
        """All requests at once; then the answers. False: the connection is at its end."""
        reader, writer = streams
        writer.write(
            b"".join(request_bytes(request, generator, last and request is batch[-1]) for request in batch)
        )
        for number, request in enumerate(batch):
            try:
                async with asyncio.timeout(PATIENCE):
                    is_open = await read_answer(reader, request)
            except TimeoutError:
                return False  # it stays pending
            if not is_open:
                after = End.CLOSED if request.end is End.CLOSED else End.UNSERVED
                for other in batch[number + 1 :]:
                    other.finish(after)
                return False
        return True

    async def leave_on(self, generator: random.Random) -> None:
        """Clients that send a half request, or hang up while the answer is due."""
        while not self.stopping:
            (request,) = self.draw(generator, 1)
            streams = await self.connect([request])
            if streams is not None:
                whole = request_bytes(request, generator, last=False)
                streams[1].write(whole[: generator.randrange(1, len(whole) + 1)])
                await asyncio.sleep(generator.uniform(0.0, 0.3))
                request.finish(End.LEFT)
                if generator.random() < 0.5:
                    streams[1].transport.abort()
                streams[1].close()
            await asyncio.sleep(PAUSE * 10)


def request_bytes(request: Request, generator: random.Random, last: bool) -> bytes:
    kind = generator.choice(("", "&long", "&chunked", "&long&chunked"))
    size = 20_000 if generator.random() < 0.1 else 0
    body = json.dumps({"customer_id": request.key, "pad": "y" * size}).encode()
    close = "Connection: close\r\n" if last else ""
    head = (
        f"POST {request.path}?{kind}&id={request.id} HTTP/1.1\r\nHost: soak\r\n{close}x-customer: {request.key}\r\n"
        f"x-request-id: soak-{request.id}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader, request: Request) -> bool:
    """False: the connection is at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, OSError) as error:
        partial = isinstance(error, asyncio.IncompleteReadError) and error.partial
        request.finish(End.CUT if partial else End.CLOSED)
        return False
    fields = fields_of(head)
    request.status = int(head.split(b" ", 2)[1])
    request.error = fields.get("x-crossfade-error", "")
    request.assigned = fields.get("x-crossfade-assigned", fields.get("x-crossfade-backend", ""))
    try:
        body = await read_body(reader, fields)
    except (asyncio.IncompleteReadError, OSError):
        request.finish(End.CUT)
        return False
    request.finish(End.ANSWERED)
    request.wrong = fault_in(request, fields, body)
    return fields.get("connection", "").lower() != "close"


def fields_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def read_body(reader: asyncio.StreamReader, fields: Mapping[str, str]) -> bytes:
    """Raises IncompleteReadError if the connection ends before the body."""
    if "chunked" not in fields.get("transfer-encoding", ""):
        return await reader.readexactly(int(fields.get("content-length", 0)))
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


def fault_in(request: Request, fields: Mapping[str, str], body: bytes) -> str:
    """What is wrong with a whole answer; "" if nothing is."""
    if fields.get("x-request-id") != f"soak-{request.id}":
        return f"the answer has the id {fields.get('x-request-id')}"
    if request.status != 200:
        return ""
    with contextlib.suppress(ValueError):
        said = json.loads(body)
        if said.get("id") != request.id:
            return f"the body is of request {said.get('id')}"
        if said["backend"] != fields.get("x-crossfade-backend"):
            return (
                f"{said['backend']} answered, and x-crossfade-backend is {fields.get('x-crossfade-backend')}"
            )
        if said.get("end") == END:
            return ""
    return f"an incomplete body of {len(body)} bytes looks complete"
