"""What a body says, for routes that ask something of it, and whether there is too much of it.

Rule: what cannot be read says nothing. Such a request has no JSON fields: conditions on them do not
hold, sticky keys and rate keys from them are not there. It is a model's business to complain about
a body, not the proxy's; but each one not read is counted, with the reason.
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
    """The decoded body, whether it came in one piece or in many; None if it cannot be read, and why."""
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
    """In bytes. A body is read once for all routes that ask something of it, up to the largest of their limits."""
    return max([route.inspect_limit for route in candidates if route.needs_body])


def check_size(exchange: ExchangeState, route: CompiledRoute) -> None:
    """By the length it states, or what is here of it. Raises RequestRefused."""
    limit = route.body_limit
    if limit is not None and max(exchange.kept, exchange.head.length) > limit:
        raise RequestRefused(Stage.LIMIT)
