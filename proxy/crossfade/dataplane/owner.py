"""Who sent the request that is now on a connection to a backend: an exchange, or a mirrored copy."""

from __future__ import annotations

from crossfade.errors import Stage
from crossfade.http1.head import RequestHead, ResponseHead


class Owner:
    """What a connection to a backend reads of a request to send it, and whom it tells of the answer."""

    head: RequestHead
    request_id: bytes
    trace_id: bytes
    forwarded_lines: bytes  # who the client is, as fields for the backend
    request_done: bool
    trailers: bytes  # the request's field lines behind its body, once that is whole
    answer_trailers: bytes  # set before the call that says that the body is done
    __slots__ = tuple(__annotations__)

    def on_interim(self, head: ResponseHead) -> None:
        """A 1xx before the answer."""
        raise NotImplementedError

    def on_switch(self, head: ResponseHead, rest: bytes) -> bool:
        """A 101; False where nobody asked for it."""
        raise NotImplementedError

    def on_response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        raise NotImplementedError

    def on_response_body(self, data: bytes, done: bool) -> None:
        raise NotImplementedError

    def on_upstream_failed(self, stage: Stage) -> None:
        raise NotImplementedError

    def on_upstream_writable(self, writable: bool) -> None:
        raise NotImplementedError
