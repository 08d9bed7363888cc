"""Reads request bodies for routes that need JSON fields of them, and checks their size.

A body of at most WHOLE bytes is held until it is complete, and decoded. A longer one is scanned as it passes
(`routing.json_path`): once all fields are found the route is chosen, and the rest goes on as it comes. Both give the same,
and which one reads a body depends on its length alone. What is held in a worker is limited: Snapshot.held_bytes.

Rule: a body that is not JSON has no JSON fields. Conditions on them do not match; sticky keys and rate keys from
them are absent. The proxy does not refuse such a body: that is the model's decision. A long body is refused if a field that
decides its route is not in the part that is searched (413), or if a field comes again behind that part, as the model would read
another value than the proxy (400). Each body that was not read is counted with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from crossfade.errors import RequestRefused, Stage
from crossfade.routing.json_path import JsonScan, Path, tree_of
from crossfade.routing.key import decode_json
from crossfade.routing.router import CompiledRoute, need_body

if TYPE_CHECKING:
    from crossfade.dataplane.plane import Plane
    from crossfade.dataplane.state import ExchangeState
    from crossfade.routing.router import Router

WHOLE: Final = 65_536  # bytes
_DEEP: Final = 100  # arrays and objects in one another that the decoder reads in any case
_REPEATED: Final = "The body has a JSON field that decides its route more than once."
NO_ROOM: Final = "Too many long request bodies are held."


class Inspection:
    """The body of one exchange, up to its route; and behind it, as long as a field could come again."""

    __slots__ = ("candidates", "held", "limit", "plane", "router", "scan", "scanned")

    def __init__(self, plane: Plane, candidates: Sequence[CompiledRoute]) -> None:
        self.plane = plane
        self.held = 0  # bytes of it that count in `plane.held_bytes`
        self.prepare(candidates)

    def prepare(self, candidates: Sequence[CompiledRoute]) -> None:
        self.candidates = candidates
        self.router: Router = self.plane.router
        self.limit = inspect_limit(candidates)
        self.scan = JsonScan(tree_of(paths_of(candidates)))
        self.scanned = 0  # bytes

    def learn(self, exchange: ExchangeState, data: bytes) -> bool:
        """Read the next part of the body; returns whether the route can be chosen. Raises RequestRefused."""
        if self.router is not self.plane.router:  # a reload: other routes may read other fields
            candidates = self.plane.router.candidates(exchange.head)
            if not candidates or not need_body(candidates):
                return True
            self.prepare(candidates)
        check_sizes(exchange, self.candidates)
        if not self.is_long(exchange):
            return exchange.request_done
        part = data if self.scanned else exchange.whole_body()
        room = self.limit - self.scanned
        self.scanned += len(part)
        self.scan.feed(part[:room])
        if self.scanned > self.limit:
            self.scan.stop()
            self.watch(part[room:])
        elif exchange.request_done:
            self.scan.end()
        self.refuse_repeated()
        if self.scan.final or self.scan.ended:
            return True
        self.hold(exchange)
        return False

    def is_long(self, exchange: ExchangeState) -> bool:
        return max(exchange.kept, exchange.head.length) > min(WHOLE, self.limit)

    def content(self, exchange: ExchangeState) -> tuple[Any, str]:
        """As `content_of`."""
        scan = self.scan
        if scan.invalid and not scan.found:
            return None, _unreadable(exchange)
        if scan.found or self.scanned <= self.limit:
            return scan, ""
        if any(route.needs_body and not route.absent_beyond for route in self.candidates):
            scan.refused_beyond = self.limit
        return scan, "too_large"

    def watch(self, data: bytes) -> None:
        """Read a part behind the one that was searched. Raises RequestRefused."""
        if not self.scan.ended:
            self.scan.feed(data)
            self.refuse_repeated()

    def refuse_repeated(self) -> None:
        if self.scan.repeated:
            raise RequestRefused(Stage.PARSE, _REPEATED)

    def hold(self, exchange: ExchangeState) -> None:
        """Count the part of the body that waits for the route. Raises RequestRefused if there is no room."""
        more = exchange.kept - WHOLE - self.held
        if more <= 0:
            return
        if self.plane.held_bytes + more > self.plane.snapshot.held_bytes:
            self.plane.recorder.unread(self.candidates[0].spec.name, "no_room")
            raise RequestRefused(Stage.OVERLOAD, NO_ROOM)
        self.plane.held_bytes += more
        self.held += more

    def release(self) -> None:
        """The body is sent, or dropped."""
        self.plane.held_bytes -= self.held
        self.held = 0


def content_of(plane: Plane, exchange: ExchangeState, candidates: Sequence[CompiledRoute]) -> tuple[Any, str]:
    """What gives the values of JSON fields to `json_field`, and ""; or None and the reason why the body was not read."""
    inspection = exchange.inspection
    if inspection is None and exchange.kept > min(WHOLE, inspect_limit(candidates)):  # it came in one piece
        exchange.inspection = inspection = Inspection(plane, candidates)
        inspection.learn(exchange, exchange.body)
    if inspection is not None and inspection.is_long(exchange):
        return inspection.content(exchange)
    if not exchange.kept:
        return None, ""
    body = exchange.whole_body()
    content = decode_json(body)
    if content is None and body.count(b"[") + body.count(b"{") >= _DEEP:
        content = scanned(body, candidates)
    return content, "" if content is not None else _unreadable(exchange)


def scanned(body: bytes, candidates: Sequence[CompiledRoute]) -> JsonScan | None:
    """The decoder does not read what is nested as deep as Python's stack; the scan does."""
    scan = JsonScan(tree_of(paths_of(candidates)))
    scan.feed(body)
    scan.end()
    return None if scan.invalid or scan.repeated else scan


def paths_of(candidates: Sequence[CompiledRoute]) -> tuple[Path, ...]:
    paths: list[Path] = []
    for route in candidates:
        paths += route.json_paths
    return tuple(paths)


def _unreadable(exchange: ExchangeState) -> str:
    return "not_json" if exchange.head.field(b"content-encoding") is None else "encoded"


def inspect_limit(candidates: Sequence[CompiledRoute]) -> int:
    """In bytes: the largest limit of the candidates that need the body. It is read once for all of them."""
    return max([route.inspect_limit for route in candidates if route.needs_body])


def check_size(exchange: ExchangeState, route: CompiledRoute) -> None:
    """Checks the stated length and the bytes received. Raises RequestRefused."""
    limit = route.body_limit
    if limit is not None and max(exchange.kept, exchange.head.length) > limit:
        raise RequestRefused(Stage.LIMIT)


def check_sizes(exchange: ExchangeState, candidates: Sequence[CompiledRoute]) -> None:
    """Raises RequestRefused if the body is too large for each route that may get it."""
    size = max(exchange.kept, exchange.head.length)
    for route in candidates:
        if route.body_limit is None or size <= route.body_limit:
            return
    raise RequestRefused(Stage.LIMIT)
