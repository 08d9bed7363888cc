"""A client's connection as an exchange sees it. Downstream is the one that reads requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossfade.dataplane.flow import Flow
from crossfade.dataplane.upstream import Owner
from crossfade.errors import RequestRefused

if TYPE_CHECKING:
    from crossfade.http1.framing import ChunkedReader, LengthReader


class Client(Flow):
    peer: bytes
    forwarded_lines: bytes
    buffer: bytes
    keep_alive: bool
    writable: bool
    half_closed: bool
    deadline: float
    reader: ChunkedReader | LengthReader | None

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def answer_problem(self, refusal: RequestRefused, request_id: bytes) -> None:
        raise NotImplementedError

    def refuse(self, refusal: RequestRefused) -> None:
        raise NotImplementedError

    def on_deadline(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def is_idle(self) -> bool:
        """Whether no request of its is under way."""
        raise NotImplementedError

    def on_end(self, exchange: Owner) -> None:
        """The exchange has ended, whether or not it is still this connection's."""
        raise NotImplementedError

    def become_tunnel(self) -> None:
        """What follows is no HTTP; the end of the exchange is not the connection's."""
        raise NotImplementedError
