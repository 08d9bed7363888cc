"""What the composition root does for the admin API."""

from __future__ import annotations

from typing import Protocol

from crossfade.config.load import Loaded


class ProxyPort(Protocol):
    async def reload(self, actor: str, force: bool = False) -> None:
        """Read the file again. Raises ConfigError or Refused; then the old configuration stays."""

    def ready(self) -> tuple[bool, str]:
        """Whether the proxy is ready for traffic; if not, the reason."""

    def check(self, text: str) -> Loaded:
        """Check a configuration as `run` does, without using it. Raises ConfigError.

        The client that sends it learns nothing of the environment and of files by that.
        """

    def text(self) -> str:
        """The text of the configuration in use, with its secrets as `***`."""
