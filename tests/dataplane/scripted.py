"""A backend that runs a test's script: one coroutine for each connection that the proxy opens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.dataplane.wire import KERNEL_BUFFER, Ended, Message, Wire, ok, wait_until

Script = Callable[["Conversation"], Awaitable[None]]
Handler = Callable[["Conversation", Message], Awaitable[None]]


class Conversation(Wire):
    """The backend's end of one connection. It keeps the requests that `request` has read."""

    guard = None  # no time limit: it reads until the proxy ends the connection

    def __init__(self, sock: socket.socket, backend: ScriptedBackend, number: int) -> None:
        super().__init__(sock)
        self.backend = backend
        self.number = number
        self.requests: list[Message] = []
        self.ended = ""  # how the proxy ended the connection; set by `watch` and `each`

    async def request(self) -> Message:
        message = await super().request()
        self.requests.append(message)
        return message

    async def over(self) -> str:
        """Wait until the proxy ends this connection; return how it ended."""
        await wait_until(lambda: self.ended, "the proxy ends the connection")
        return self.ended

    async def watch(self) -> None:
        """Read until the proxy ends the connection."""
        _, self.ended = await self.rest()


class ScriptedBackend:
    """Listens on a port of its own. `close` fails if a script raised an exception."""

    def __init__(
        self, name: str, script: Script, receive_buffer: int = 0, at: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self.name = name
        self.script = script
        self.conversations: list[Conversation] = []
        self.errors: list[BaseException] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.bind(at)
        self.sock.setblocking(False)
        self.port = int(self.sock.getsockname()[1])

    @property
    def requests(self) -> list[Message]:
        return [request for conversation in self.conversations for request in conversation.requests]

    def listen(self) -> None:
        """Before this call the port is bound, and connections to it are refused."""
        self.sock.listen(512)
        self.start(self.accept())

    def start(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            try:
                await work
            except (Ended, ConnectionError):
                pass  # the proxy ended the connection: no error in most scripts
            except Exception as error:
                self.errors.append(error)

        task = asyncio.get_running_loop().create_task(run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def accept(self) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
            conversation = Conversation(sock, self, len(self.conversations))
            self.conversations.append(conversation)
            self.start(self.script(conversation))

    async def close(self) -> None:
        for task in list(self.tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for conversation in self.conversations:
            conversation.close()
        self.sock.close()
        assert self.errors == [], self.errors


def each(handler: Handler) -> Script:
    """Call the handler for each request, until the proxy ends the connection."""

    async def script(conversation: Conversation) -> None:
        try:
            while True:
                await handler(conversation, await conversation.request())
        except Ended as end:
            conversation.ended = end.how
        except ConnectionError:
            conversation.ended = "reset"

    return script


def answering(raw: bytes) -> Script:
    """Answer each request with these bytes."""

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(raw)

    return each(handler)


async def naming(conversation: Conversation) -> None:
    """Answer each request with the backend's name."""
    await answering(ok(conversation.backend.name.encode()))(conversation)


async def silent(conversation: Conversation) -> None:
    """Read, and never answer."""
    await conversation.watch()


def closing(raw: bytes) -> Script:
    """On each connection: read one request, send these bytes, close."""

    async def script(conversation: Conversation) -> None:
        await conversation.request()
        await conversation.send(raw)
        conversation.close()

    return script


@dataclass
class Held:
    """A backend script that answers with its name once released."""

    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, conversation: Conversation) -> None:
        async def handler(conversation: Conversation, request: Message) -> None:
            await self.release.wait()
            await conversation.send(ok(conversation.backend.name.encode()))

        await each(handler)(conversation)
