"""The interface of a client's connection, as an exchange uses it. `Downstream` implements it for HTTP/1.

Rule: an exchange passes values (a head, a part of the body, a refusal). The implementation writes the
bytes: hop-by-hop fields, framing, and whether the connection stays open.
"""

from __future__ import annotations

from crossfade.dataplane.flow import Flow
from crossfade.dataplane.owner import Owner
from crossfade.errors import RequestRefused
from crossfade.http1.response_head import ResponseHead


class Client(Flow):
    peer: bytes
    forwarded_lines: bytes
    buffer: bytearray  # an incomplete head, or bytes received after the request
    writable: bool
    problem_fields: bytes  # field lines that the route of this request adds to an error
    half_closed: bool
    deadline: float

    # ── for an exchange ─────────────────────────────────────────────────────────────────

    def answer_continue(self) -> None:
        """100 Continue: the client waits for it before it sends the body."""
        raise NotImplementedError

    def answer_interim(self, head: ResponseHead) -> None:
        """A backend's 1xx answer; HTTP/1.0 clients do not get it."""
        raise NotImplementedError

    def answer(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """The answer's head, and the part of its body that was received with it."""
        raise NotImplementedError

    def answer_body(self, data: bytes, done: bool, framed: bytes) -> None:
        raise NotImplementedError

    def answer_trailers(self, trailers: bytes) -> None:
        """They end the answer; `answer_body` was not called with `done`."""
        raise NotImplementedError

    def answer_problem(self, refusal: RequestRefused, request_id: bytes) -> None:
        """An answer that the proxy itself makes."""
        raise NotImplementedError

    def refuse(self, refusal: RequestRefused) -> None:
        """End the exchange, with an answer of the proxy if none has begun."""
        raise NotImplementedError

    def answer_own(self, head: ResponseHead, body: bytes) -> None:
        """A whole answer that the proxy makes, and the configuration describes."""
        raise NotImplementedError

    def cut(self) -> None:
        """End a truncated answer so that it cannot look complete (law 8)."""
        raise NotImplementedError

    def expect_no_other_request(self) -> None:
        """Bytes after this request are never read as another request."""
        raise NotImplementedError

    def become_tunnel(self, head: ResponseHead, protocol: bytes) -> bytes:
        """Returns the bytes of the 101 answer. After them both sides speak `protocol`; the connection outlives the exchange."""
        raise NotImplementedError

    def on_end(self, exchange: Owner) -> None:
        """The exchange has ended. It may no longer be the exchange of this connection."""
        raise NotImplementedError

    # ── for the listener ────────────────────────────────────────────────

    def on_deadline(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def is_idle(self) -> bool:
        """Whether no request is in progress."""
        raise NotImplementedError
