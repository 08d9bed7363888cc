"""A worker of this process and the test at the other end of its seam."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

from msgspec.structs import replace

from crossfade.dataplane.listener import DataPlane
from crossfade.stats.counts import CountsTable
from crossfade.workers.messages import (
    UPWARD,
    Certificate,
    Closing,
    Drain,
    Listening,
    Publish,
    Release,
    Renew,
    Report,
    read_frame,
    write_frame,
)
from crossfade.workers.worker import Worker
from tests.dataplane.plane import SNAPSHOT


class Kept:
    """A worker in this process, and the control process's end of its seam."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self, lock_file: str | None = None, tls: Certificate | None = None) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.plane = DataPlane()
        self.worker = Worker(self.plane, lock_file, [Listening(os.dup(self.sock.fileno()), tls)])
        self.running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        ours, theirs = socket.socketpair()
        self.reader, self.writer = await asyncio.open_unix_connection(sock=ours)
        self.running = asyncio.create_task(self.worker.run(theirs))

    def tell(self, order: Publish | Closing | Drain | Release | Renew) -> None:
        write_frame(self.writer, order)

    async def report(self) -> Report:
        return UPWARD.decode(await read_frame(self.reader))

    async def serving(self, generation: int = 1) -> Report:
        """Tell it to serve from this generation; its first report that says it does."""
        self.tell(Publish(replace(SNAPSHOT, generation=generation)))
        while (report := await self.report()).generation != generation:
            pass
        return report

    async def refusals(self) -> int:
        """What has been refused in all reports until it hangs up: the requests to a proxy without routes."""
        table = CountsTable()
        try:
            while True:
                table.add((await self.report()).counts)
        except (asyncio.IncompleteReadError, ConnectionError):
            return sum(table.refused.values())

    async def ask(self, tls: ssl.SSLContext | None = None) -> bytes:
        """The answer to a request of a client."""
        name = "localhost" if tls else None
        reader, writer = await asyncio.open_connection(
            *self.sock.getsockname(), ssl=tls, server_hostname=name
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def ended(self) -> None:
        assert self.running is not None
        await self.running

    async def close(self) -> None:
        self.worker.begin_drain(Drain(0.0))
        self.writer.close()
        await self.ended()
        self.sock.close()
        await asyncio.sleep(0)
