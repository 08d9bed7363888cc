"""Follows the configuration file: it is loaded again after a SIGHUP, and after a change of its content.

Rule: the content counts, not times or inodes: editors and mounts replace files in too many ways to trust these. Two looks must
agree, as a file that is being written can be valid half way, and lack routes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from hashlib import blake2b

from crossfade.coalescing import until_next
from crossfade.files import CONFIG_LIMIT, read_regular
from crossfade.workers.ending import wait_for

WATCH = 1.0  # seconds between two looks; polling works on every mount and with every editor


class ConfigFile:
    """`reload`: tries to, and says itself what is wrong."""

    def __init__(self, path: str, reload: Callable[[str], Awaitable[None]]) -> None:
        self.path = path
        self.reload = reload
        self.hang_up = asyncio.Event()  # a SIGHUP came
        self.loaded = b""  # the fingerprint of what was loaded last, or was tried to

    def look(self) -> None:
        """It is loaded now. It blocks."""
        self.loaded = self.fingerprint()

    def fingerprint(self) -> bytes:
        """b"" if the file cannot be read. It blocks."""
        with contextlib.suppress(OSError):
            return blake2b(read_regular(self.path, CONFIG_LIMIT)).digest()
        return b""

    async def follow(self) -> None:
        """Never returns."""
        loop, seen = asyncio.get_running_loop(), self.loaded
        while True:
            if await wait_for(self.hang_up, until_next(loop.time(), WATCH)):
                self.hang_up.clear()
                await self.reload("signal")
                seen = self.loaded
            else:
                previous, seen = seen, await asyncio.to_thread(self.fingerprint)
                if seen == previous and seen not in (self.loaded, b""):
                    await self.reload("file")
