"""Follows the files of `tls` and `backends.*.tls`: new connections use what they hold now.

Rule: a renewal does not depend on the configuration file, which may be broken when a certificate is about to end. Files are
believed after two equal looks. Files that cannot be used change nothing, and that is said once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from crossfade.coalescing import end_of
from crossfade.config.load import Examine, Loaded, tls_sections
from crossfade.config.model import BackendTlsConfig
from crossfade.dial import examine, stamp_of

WATCH = 1.0  # seconds between two looks


class Renewal(NamedTuple):
    """Stamps by backend, "" for the listeners; `faults`: what is wrong with files that cannot be used."""

    stamps: dict[str, str]
    faults: list[str]


def read(loaded: Loaded, examine: Examine) -> Renewal:
    renewal = Renewal({}, [])
    for section in tls_sections(loaded.config):
        stamp, found = examine(section.files, section.must_name_host)
        renewal.stamps[section.name] = renewal.stamps.get(section.name, "") + stamp
        renewal.faults.extend(
            f"{'.'.join(map(str, section.place_of(key)))}: {fault}" for key, fault in found.items()
        )
    return renewal


def _unexamined(files: BackendTlsConfig, _must_name_host: bool) -> tuple[str, dict[str, str]]:
    return stamp_of(files)


class TlsFiles:
    """`loaded`: the configuration in force; `use` is called with files that can be used, `refuse` with others."""

    def __init__(
        self, loaded: Callable[[], Loaded], use: Callable[[Renewal], None], refuse: Callable[[Renewal], None]
    ) -> None:
        self.loaded = loaded
        self.use = use
        self.refuse = refuse
        self.refused: dict[str, str] | None = None  # stamps of files that cannot be used, until others can

    async def follow(self) -> None:
        """Never returns."""
        seen = self.loaded().stamps
        while True:
            await end_of(WATCH)
            loaded = self.loaded()
            if not loaded.stamps:  # TLS is not configured: there is nothing to read
                seen = loaded.stamps
                continue
            before, seen = seen, (await asyncio.to_thread(read, loaded, _unexamined)).stamps
            if seen == before and seen != (self.refused or loaded.stamps):
                await self.renew(loaded)

    async def renew(self, loaded: Loaded) -> None:
        renewal = await asyncio.to_thread(read, loaded, examine)
        if self.loaded() is not loaded:  # a reload has read them meanwhile
            return
        if renewal.faults:
            self.refused = renewal.stamps
            self.refuse(renewal)
        else:
            self.refused = None
            self.use(renewal)
