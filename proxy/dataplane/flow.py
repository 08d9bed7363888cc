"""What both sides of a relay have in common: a transport that can be stopped and resumed (back-pressure)."""

from __future__ import annotations

import asyncio
from typing import cast


class Flow(asyncio.Protocol):
    """`reading`: whether the peer's bytes are taken in; while not, the peer's own sends come to a halt."""

    transport: asyncio.Transport
    reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def set_reading(self, reading: bool) -> None:
        if reading is not self.reading and not self.transport.is_closing():
            self.reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()
