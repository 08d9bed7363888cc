"""What the body of a request says, for routes that read it; and the check of its size.

How a body is read is in `inspection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from crossfade.dataplane.inspection import WHOLE, Inspection, inspect_limit, paths_of, unreadable
from crossfade.dataplane.room import Room
from crossfade.errors import RequestRefused, Stage
from crossfade.routing.json_path import JsonScan
from crossfade.routing.key import decode_json
from crossfade.routing.path_values import tree_of
from crossfade.routing.router import CompiledRoute

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState

_DEEP: Final = 100  # arrays and objects in one another that the decoder reads in any case


def content_of(room: Room, exchange: ExchangeState, candidates: Sequence[CompiledRoute]) -> Any:
    """What gives the values of JSON fields to `json_field`. None if there is no body, or it was not read; the latter is counted."""
    content, why = _read(room, exchange, candidates)
    if why:
        room.count_unread(candidates[0].spec.name, why)
    return content


def _read(room: Room, exchange: ExchangeState, candidates: Sequence[CompiledRoute]) -> tuple[Any, str]:
    """What was read, and ""; or None and the reason why it was not."""
    inspection = exchange.inspection
    if inspection is None and exchange.kept > min(WHOLE, inspect_limit(candidates)):  # it came in one piece
        exchange.inspection = inspection = Inspection(room, exchange.head, candidates)
        inspection.learn(exchange.body, True)
    if inspection is not None and inspection.is_long():
        return inspection.content()
    if not exchange.kept:
        return None, ""
    body = exchange.whole_body()
    content = decode_json(body)
    if content is None and body.count(b"[") + body.count(b"{") >= _DEEP:
        content = _scanned(body, candidates)
    return content, "" if content is not None else unreadable(exchange.head)


def _scanned(body: bytes, candidates: Sequence[CompiledRoute]) -> JsonScan | None:
    """The decoder does not read what is nested as deep as Python's stack; the scan does."""
    scan = JsonScan(tree_of(paths_of(candidates)))
    scan.feed(body)
    scan.end()
    return None if scan.invalid or scan.repeated else scan


def check_size(exchange: ExchangeState, route: CompiledRoute) -> None:
    """Checks the stated length and the bytes received. Raises RequestRefused."""
    limit = route.body_limit
    if limit is not None and max(exchange.kept, exchange.head.length) > limit:
        raise RequestRefused(Stage.LIMIT)
