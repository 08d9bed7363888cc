"""Reads request bodies for routes that need a JSON field of them, and checks their size.

Rule: a body that cannot be read has no JSON fields. Conditions on them do not match; sticky keys and rate
keys from them are absent. The proxy does not refuse such a body: that is the model's decision. Each body
that was not read is counted with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crossfade.errors import RequestRefused, Stage
from crossfade.routing.key import decode_json

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState
    from crossfade.routing.router import CompiledRoute


def content_of(exchange: ExchangeState, candidates: Sequence[CompiledRoute]) -> tuple[Any, str]:
    """The decoded body and "", or None and the reason why it was not read."""
    if not exchange.request_done or exchange.kept > inspect_limit(candidates):
        return None, "too_large"
    if not exchange.kept:
        return None, ""
    content = decode_json(exchange.whole_body())
    if content is None:
        coded = exchange.head.field(b"content-encoding") is not None
        return None, "encoded" if coded else "not_json"
    return content, ""


def inspect_limit(candidates: Sequence[CompiledRoute]) -> int:
    """In bytes: the largest limit of the candidates that need the body. It is decoded once for all of them."""
    return max([route.inspect_limit for route in candidates if route.needs_body])


def check_size(exchange: ExchangeState, route: CompiledRoute) -> None:
    """Checks the stated length and the bytes received. Raises RequestRefused."""
    limit = route.body_limit
    if limit is not None and max(exchange.kept, exchange.head.length) > limit:
        raise RequestRefused(Stage.LIMIT)
