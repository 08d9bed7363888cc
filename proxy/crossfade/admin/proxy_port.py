"""What the composition root does for the admin API."""

from __future__ import annotations

from typing import Protocol

from crossfade.config.load import Loaded
from crossfade.control.configurations import Order


class ProxyPort(Protocol):
    async def reload(self, order: Order) -> None:
        """Read the file again. Raises ConfigError, Refused or Changed; then the old configuration stays."""

    async def apply(self, text: str, order: Order) -> None:
        """Use this configuration. Raises ConfigError, Invalid, Refused or Changed; then the old one stays."""

    async def restore(self, number: int, order: Order) -> None:
        """Use one of the history again. Raises UnknownName too."""

    def ready(self) -> tuple[bool, str]:
        """Whether the proxy is ready for traffic; if not, the reason."""

    def check(self, text: str) -> Loaded:
        """Check a configuration as `run` does, without using it. Raises ConfigError.

        The client that sends it learns nothing of the environment and of files by that.
        """

    def text(self) -> str:
        """The text of the configuration in use, with its secrets as `***`."""
