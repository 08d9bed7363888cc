"""The versions that the registry has named, by route: a file beside the state, so that a start needs no registry.

Rule: it is written before a configuration with the version is loaded. A file that is gone or damaged names nothing.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from crossfade.config.registered import RegisteredOfRoute
from crossfade.control.database import PRIVATE

log = logging.getLogger("crossfade.registry")

Versions = dict[str, RegisteredOfRoute]  # by route


def file_of(state: str | None) -> Path | None:
    """`state`: the path of the database, None in memory."""
    return None if state is None else Path(f"{state}.registered.json")


class RegisteredVersions:
    """`known` is what the configuration is read with. It blocks: call it at the start, or in a thread."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.known: Versions = {}

    def open(self, state: str | None) -> bool:
        """Whether others are known now."""
        before = self.known
        self._read(state)
        return self.known != before

    def _read(self, state: str | None) -> None:
        self.path = file_of(state)
        if self.path is None:
            return
        try:
            self.known = msgspec.json.decode(self.path.read_bytes(), type=Versions)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s cannot be read, so it names no version: %s", self.path, error)

    def save(self, versions: Versions) -> None:
        """Raises OSError; then nothing has changed."""
        if self.path is not None:
            staged = self.path.with_name(f"{self.path.name}.new")
            with suppress(FileNotFoundError):
                staged.unlink()
            fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode(versions))
                file.flush()
                os.fsync(file.fileno())
            staged.replace(self.path)
        self.known = versions
