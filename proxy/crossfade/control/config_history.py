"""The configurations that were in force, the newest last, each with who put it there."""

from __future__ import annotations

import asyncio
import logging

from crossfade.config.load import Loaded
from crossfade.control.database import StoreError
from crossfade.control.kept_configs import KeptConfig, Origin
from crossfade.control.refusal import UnknownName, Unwritten
from crossfade.control.store import Store

log = logging.getLogger("crossfade.control")


class ConfigHistory:
    """Reads and writes beside the loop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.number: int | None = None  # of the one in force; None: it could not be kept

    async def keep(self, loaded: Loaded, text: str, origin: Origin, actor: str, at: float) -> None:
        """The one that is in force now. One with the same text as the last is the last."""
        loop = asyncio.get_running_loop()
        try:
            last = await self.last()
            if last is not None and (last.text, last.origin) == (text, origin):
                self.number = last.id
                return
            number = last.id + 1 if last is not None else 1
            kept = KeptConfig(number, at, actor, origin, loaded.hash, text, loaded.shown)
            await loop.run_in_executor(self.store.write_thread, self.store.save_config, kept)
        except (StoreError, Unwritten) as error:
            self.number = None
            log.error("the configuration in force is not in its history: %s", error)
        else:
            self.number = number

    async def entries(self) -> list[KeptConfig]:
        """Raises Unwritten."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self.store.read_thread, self.store.configs)
        except StoreError as error:
            raise Unwritten(str(error)) from None

    async def last(self) -> KeptConfig | None:
        """Raises Unwritten."""
        found = await self.entries()
        return found[-1] if found else None

    async def entry(self, number: int) -> KeptConfig:
        """Raises UnknownName, or Unwritten."""
        for kept in await self.entries():
            if kept.id == number:
                return kept
        raise UnknownName(f"no configuration of the history has the id {number}")
