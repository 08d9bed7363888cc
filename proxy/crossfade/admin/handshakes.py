"""Accepts connections of the admin port with TLS.

Rule: a connection counts from its first moment. `Connections` sees one only after its handshake; so those in one are limited
here, in number and time, and where there are too many the oldest makes room. Event loops limit their time alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

from crossfade.control.background import Background

log = logging.getLogger("crossfade.admin")

HANDSHAKE_TIME = 10.0  # seconds
SHUTDOWN_TIME = 2.0  # seconds for the peer to say that it ends too
ACCEPT_AGAIN = 0.5  # seconds after an accept that failed: no descriptor is left


class Handshakes:
    """Make it in a running loop. It owns the socket. `limit`: handshakes at a time."""

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        limit: int,
        backlog: int,
    ) -> None:
        self.sock = sock
        self.make = make
        self.context = context
        self.limit = limit
        self.shaking: dict[asyncio.Task[None], None] = {}  # the oldest first
        self.background = Background()
        sock.setblocking(False)
        sock.listen(backlog)
        self.background.spawn(self._accept())

    async def _accept(self) -> None:
        loop, has_failed = asyncio.get_running_loop(), False
        while True:
            try:
                client, _ = await loop.sock_accept(self.sock)
            except OSError as error:
                if not has_failed:
                    log.error("admin port: no connection can be accepted: %s; trying again and again", error)
                has_failed = True
                await asyncio.sleep(ACCEPT_AGAIN)
                continue
            has_failed = False
            if len(self.shaking) >= self.limit:
                oldest = next(iter(self.shaking))
                del self.shaking[oldest]
                oldest.cancel()
            task = self.background.task(self._shake_hands(client))
            self.shaking[task] = None
            task.add_done_callback(lambda task: self.shaking.pop(task, None))

    async def _shake_hands(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # of the peer: no TLS, no certificate, too slow, gone
            await loop.connect_accepted_socket(
                self.make, client, ssl=self.context,
                ssl_handshake_timeout=HANDSHAKE_TIME, ssl_shutdown_timeout=SHUTDOWN_TIME,
            )  # fmt: skip

    async def close(self) -> None:
        self.background.cancel()
        await self.background.idle()
        self.sock.close()
