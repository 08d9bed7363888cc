"""The configuration in force: the file's, or one that was applied since.

Rule: the file stays the operator's. An applied configuration is in force until the file changes, a reload is asked for, or the proxy
starts again; meanwhile status and metrics say that the two differ. Who applies one may have the proxy read and run only what
the file has it read and run, and gets the value of a variable only where the file has the same one at the same place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from crossfade.config.load import Loaded, load
from crossfade.config.problem import ConfigError, listed
from crossfade.config.registered import Registered
from crossfade.config.touched import newly_touched
from crossfade.control.controller import Controller
from crossfade.control.kept_configs import Origin
from crossfade.control.refusal import Invalid, Refused, Unwritten
from crossfade.control.seen import Seen, require
from crossfade.dial import examine
from crossfade.log_lines import facts

log = logging.getLogger("crossfade")

SHOWN_PROBLEMS = 20  # of a file that was not loaded, in one line of the log


class Order(NamedTuple):
    """Who asks for a load, and when, by wall time. `force`: traffic may go to a backend that is down. `seen`: of the configuration in force."""

    actor: str
    at: float
    force: bool = False
    seen: Seen = None


class Next(NamedTuple):
    """A configuration to be put in force. `differs`: from the file."""

    loaded: Loaded
    differs: bool


Use = Callable[[Next, Order], Awaitable[None]]


class Configurations:
    """`text_of_file` blocks, and raises ConfigError. `known`: the versions that the registry has named."""

    def __init__(
        self,
        name: str,
        text_of_file: Callable[[], str],
        env: Mapping[str, str],
        known: Callable[[], Registered],
    ) -> None:
        self.name = name
        self.text_of_file = text_of_file
        self.env = env
        self.known = known
        self.lock = asyncio.Lock()  # of loads
        self.applied: str | None = None  # the text in force, where it is not the file's
        self.file_text = ""
        self.file = self.loaded = self.read()

    def read(self) -> Loaded:
        """What is in force, read anew. It blocks."""
        if self.applied is not None:
            return self._load(self.applied)
        self.file_text = self.text_of_file()
        return self._load(self.file_text)

    def refresh(self) -> None:
        """Before it is in force: the registry has named other versions. It blocks."""
        self.loaded = self.read()
        if self.applied is None:
            self.file = self.loaded

    def _load(self, text: str) -> Loaded:
        return load(text, self.name, self.env, examine, registered=self.known())

    def check(self, text: str) -> Loaded:
        """For clients of the admin API: they may read neither the environment nor files. It blocks. Raises ConfigError."""
        return load(text, self.name, self.env, examine, self.file, self.known())

    # ── loads ─────────────────────────────────────────────────────────────────────────────────────

    async def begin(self, controller: Controller, at: float) -> None:
        """The start, or the way back after a successor has failed."""
        await controller.load(self.loaded, "file", at, differs=self.differs(self.loaded))
        if self.applied is None:
            await self._say_what_is_gone(controller)
        await self._keep(controller, Order("file", at))

    async def _say_what_is_gone(self, controller: Controller) -> None:
        with suppress(Unwritten):  # what is in force is more than what was
            last = await controller.configs.last()
            if last is not None and last.origin is Origin.APPLIED and last.text != self.file_text:
                log.warning(
                    "the configuration %d that %s applied is no longer in force: a start loads the file; "
                    "POST /api/v1/config/history/%d/restore uses it again",
                    last.id, last.actor, last.id,
                )  # fmt: skip

    async def reload(self, controller: Controller, use: Use, order: Order, anew: bool = False) -> None:
        """The file as it is now; what was applied goes. `anew`: what is in force, read again. Raises ConfigError, Refused or Changed."""
        async with self.lock:
            require(order.seen, controller.views.config_tag(), "the configuration")
            applied = self.applied if anew else None
            try:
                text = await asyncio.to_thread(self.text_of_file) if applied is None else applied
                loaded = await asyncio.to_thread(self._load, text)
                await use(Next(loaded, self.differs(loaded) if applied is not None else False), order)
            except (ConfigError, Refused) as error:
                _refuse(controller, order, error)
                raise
            self.loaded, self.applied = loaded, applied
            if applied is None:
                self.file, self.file_text = loaded, text
            await self._keep(controller, order)

    async def apply(self, controller: Controller, use: Use, text: str, order: Order) -> None:
        """Raises ConfigError, Invalid, Refused or Changed; then nothing has changed."""
        async with self.lock:
            loaded = await asyncio.to_thread(self.check, text)
            if touched := newly_touched(loaded, self.file):
                raise Invalid(
                    f"The configuration names {listed(touched)}, which the file does not name: what the proxy reads, writes "
                    "or runs on its machine is named in the file alone."
                )
            await self._put(controller, use, loaded, text, order)

    async def restore(self, controller: Controller, use: Use, number: int, order: Order) -> None:
        """Apply one that was in force before. Raises UnknownName, ConfigError, Refused or Changed."""
        async with self.lock:
            kept = await controller.configs.entry(number)
            loaded = await asyncio.to_thread(self._load, kept.text)
            await self._put(controller, use, loaded, kept.text, order)

    async def _put(self, controller: Controller, use: Use, loaded: Loaded, text: str, order: Order) -> None:
        require(order.seen, controller.views.config_tag(), "the configuration")
        await use(Next(loaded, self.differs(loaded)), order)
        self.loaded, self.applied = loaded, None if text == self.file_text else text
        await self._keep(controller, order)

    async def _keep(self, controller: Controller, order: Order) -> None:
        origin = Origin.FILE if self.applied is None else Origin.APPLIED
        text = self.file_text if self.applied is None else self.applied
        await controller.configs.keep(self.loaded, text, origin, order.actor, order.at)

    def differs(self, loaded: Loaded) -> bool:
        """From the file, in any value; not in comments and spelling."""
        return loaded.config.model_dump() != self.file.config.model_dump()


def _refuse(controller: Controller, order: Order, error: ConfigError | Refused) -> None:
    """A reload: the old configuration stays."""
    said = f"{len(error.problems)} problem(s)" if isinstance(error, ConfigError) else str(error)
    problems = str(error).splitlines()[:SHOWN_PROBLEMS]
    known = facts("reload", ok=False, actor=order.actor, problems=problems)
    log.error("configuration not reloaded, the old one stays: %s", said, extra=known)
    controller.refuse_config(str(error))
