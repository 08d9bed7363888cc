"""The owner of a connection to a backend: the exchange or the mirrored copy whose request is on it."""

from __future__ import annotations

from crossfade.errors import Stage
from crossfade.http1.request_head import RequestHead
from crossfade.http1.response_head import ResponseHead
from crossfade.routing.router import CompiledRoute


class Owner:
    """The connection reads the request from these fields and reports the answer to these methods."""

    head: RequestHead
    route: CompiledRoute
    request_id: bytes
    trace: bytes  # `TRACE-SPAN` of the traceparent that the proxy sends; empty: it sends none of its own
    forwarded_lines: (
        bytes  # X-Forwarded-* and Forwarded, for the backend; up to the host if the head has none
    )
    request_done: bool
    expecting: bool  # Expect: 100-continue is forwarded; no part of the body is sent before the 100
    trailers: bytes  # of the request; set once its body is complete
    answer_trailers: bytes  # set before the call of `on_response_body` with `done`
    __slots__ = tuple(__annotations__)

    def on_interim(self, head: ResponseHead) -> None:
        """A 1xx before the answer."""
        raise NotImplementedError

    def on_switch(self, head: ResponseHead, rest: bytes) -> bool:
        """A 101 answer. Returns False where no upgrade was requested."""
        raise NotImplementedError

    def on_response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        raise NotImplementedError

    def on_response_body(self, data: bytes, done: bool, framed: bytes) -> None:
        """`framed`: the data as one chunk, where it came as one; else empty."""
        raise NotImplementedError

    def on_upstream_failed(self, stage: Stage) -> None:
        raise NotImplementedError

    def on_upstream_writable(self, writable: bool) -> None:
        raise NotImplementedError
