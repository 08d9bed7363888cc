"""The lines that tell a backend where a request comes from: Forwarded and X-Forwarded-*.

Rule: a client mostly sends one host, so its lines are composed again only if the client, the host or the host that a
trusted proxy names is another one.
"""

from __future__ import annotations

from crossfade.dataplane import relay
from crossfade.http1.request_head import RequestHead


class Origin:
    """Of one client connection. `beginning`: the lines up to the host (`http1.forwarded`)."""

    __slots__ = ("beginning", "host", "lines", "public_host")

    def __init__(self) -> None:
        self.beginning = self.lines = b""
        self.host: bytes | None = None
        self.public_host: bytes | None = None

    def lines_for(self, beginning: bytes, head: RequestHead) -> bytes:
        """The lines, and the name of x-request-id behind them. Without a host (HTTP/1.0), only their beginning."""
        host, public_host = head.host, head.public_host
        if host is None:
            return beginning
        if host is not self.host or beginning is not self.beginning or public_host is not self.public_host:
            self.host, self.beginning, self.public_host = host, beginning, public_host
            self.lines = relay.forwarded(beginning, host, public_host or host)
        return self.lines
