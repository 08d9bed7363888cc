"""The client's side of an exchange: what an exchange may say to its client. Downstream says it in HTTP/1.

Rule: an exchange gives meaning (this head, this part of the body, this refusal), and whoever implements
this spells the bytes: fields of the hop, framing, whether the connection goes on.
"""

from __future__ import annotations

from crossfade.dataplane.flow import Flow
from crossfade.dataplane.owner import Owner
from crossfade.errors import RequestRefused
from crossfade.http1.head import ResponseHead


class Client(Flow):
    peer: bytes
    forwarded_lines: bytes
    buffer: bytes  # what the client sent behind its request
    writable: bool
    half_closed: bool
    deadline: float

    # ── what an exchange says ─────────────────────────────────────────────────────────────────

    def answer_continue(self) -> None:
        """The client waits for this before it sends the body."""
        raise NotImplementedError

    def answer_interim(self, head: ResponseHead) -> None:
        """A backend's 1xx, for clients that know them."""
        raise NotImplementedError

    def answer(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """The answer's head, and as much of its body as came along."""
        raise NotImplementedError

    def answer_body(self, data: bytes, done: bool) -> None:
        raise NotImplementedError

    def answer_trailers(self, trailers: bytes) -> None:
        """They end the answer, in the place of `done`."""
        raise NotImplementedError

    def answer_problem(self, refusal: RequestRefused, request_id: bytes) -> None:
        """An answer of the proxy's own."""
        raise NotImplementedError

    def refuse(self, refusal: RequestRefused) -> None:
        """End the exchange, with an answer of the proxy's own if none has begun."""
        raise NotImplementedError

    def cut(self) -> None:
        """End an answer that is not whole so that it cannot look complete (law 8)."""
        raise NotImplementedError

    def expect_no_other_request(self) -> None:
        """What the client sends behind this request is never read as another one."""
        raise NotImplementedError

    def become_tunnel(self, head: ResponseHead, protocol: bytes) -> bytes:
        """The client is to speak this protocol behind the bytes returned, and the connection outlives the exchange."""
        raise NotImplementedError

    def on_end(self, exchange: Owner) -> None:
        """The exchange has ended, whether or not it is still this connection's."""
        raise NotImplementedError

    # ── what the listener asks of a connection ────────────────────────────────────────────────

    def on_deadline(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def is_idle(self) -> bool:
        """Whether no request of its is under way."""
        raise NotImplementedError
