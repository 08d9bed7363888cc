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
from typing import Any, Final

from crossfade.dataplane.room import Room
from crossfade.errors import RequestRefused, Stage
from crossfade.http1.request_head import RequestHead
from crossfade.routing.json_path import JsonScan
from crossfade.routing.path_values import Path, tree_of
from crossfade.routing.router import CompiledRoute, need_body

WHOLE: Final = 65_536  # bytes
_MUCH: Final = 4096  # tokens: some milliseconds
_REPEATED: Final = "The body has a JSON field that decides its route more than once."
NO_ROOM: Final = "Too many long request bodies are held."


class Inspection:
    """The body of one request, up to its route; and behind it, as long as a field could come again."""

    __slots__ = (
        "candidates",
        "cut",
        "head",
        "held",
        "kept",
        "limit",
        "parts",
        "room",
        "router",
        "scan",
        "scanned",
        "steps_before",
    )

    def __init__(self, room: Room, head: RequestHead, candidates: Sequence[CompiledRoute]) -> None:
        self.room = room
        self.head = head
        self.parts: list[bytes] = []  # all that came until the route is chosen
        self.kept = 0  # their bytes
        self.held = 0  # of these, the ones that count in `room.held_bytes`
        self.prepare(candidates)

    def prepare(self, candidates: Sequence[CompiledRoute]) -> None:
        self.candidates = candidates
        self.router = self.room.router
        self.limit = inspect_limit(candidates)
        self.scan = JsonScan(tree_of(paths_of(candidates)))
        self.scanned = 0  # bytes
        self.steps_before = 0  # of the scan, when `was_much_work` was asked last
        self.cut = False  # whether fields may be behind the limit

    def learn(self, data: bytes, done: bool) -> bool:
        """Read the next part of the body; returns whether the route can be chosen. Raises RequestRefused."""
        self.parts.append(data)
        self.kept += len(data)
        if self.router is not self.room.router:  # a reload: other routes may read other fields
            candidates = self.room.router.candidates(self.head)
            if not candidates or not need_body(candidates):
                self.parts.clear()
                self.scan.end()  # a field that comes again is no matter of these routes
                return True
            self.prepare(candidates)
        self.check_sizes()
        if not self.is_long():
            return done
        self.search(data if self.scanned else b"".join(self.parts), done)
        if self.scan.final or self.scan.ended:
            self.parts.clear()
            return True
        self.hold()
        return False

    def is_long(self) -> bool:
        return max(self.kept, self.head.length) > min(WHOLE, self.limit)

    def search(self, part: bytes, done: bool) -> None:
        scan, room = self.scan, self.limit - self.scanned
        self.scanned += len(part)
        scan.feed(part[:room])
        if self.scanned > self.limit:
            self.cut = not scan.found and not scan.ended
            scan.stop()
            self.watch(part[room:])
        elif done:
            scan.end()
        if scan.repeated:
            raise RequestRefused(Stage.PARSE, _REPEATED)

    def watch(self, data: bytes) -> None:
        """Read a part behind the one that was searched. Raises RequestRefused."""
        if not self.scan.ended:
            self.scan.feed(data)
            if self.scan.repeated:
                raise RequestRefused(Stage.PARSE, _REPEATED)

    def was_much_work(self) -> bool:
        """Whether the last part was: a body of many small tokens costs many times as much as one of text."""
        before, self.steps_before = self.steps_before, self.scan.steps
        return self.steps_before - before > _MUCH

    def content(self) -> tuple[Any, str]:
        """As `content_of`."""
        scan = self.scan
        if self.cut:
            if any(route.needs_body and not route.absent_beyond for route in self.candidates):
                scan.refused_beyond = self.limit
            return scan, "too_large"
        if scan.invalid and not scan.found:
            return None, unreadable(self.head)
        return scan, ""

    def hold(self) -> None:
        """Count what waits for the route. Raises RequestRefused if there is no room."""
        room, more = self.room, self.kept - WHOLE - self.held
        if more <= 0:
            return
        if room.held_bytes + more > room.snapshot.held_bytes:
            room.count_unread(self.candidates[0].spec.name, "no_room")
            raise RequestRefused(Stage.OVERLOAD, NO_ROOM)
        room.held_bytes += more
        self.held += more

    def release(self) -> None:
        """The body is sent, or dropped."""
        self.room.held_bytes -= self.held
        self.held = 0

    def check_sizes(self) -> None:
        """Raises RequestRefused if the body is too large for each route that may get it."""
        size = max(self.kept, self.head.length)
        for route in self.candidates:
            if route.body_limit is None or size <= route.body_limit:
                return
        raise RequestRefused(Stage.LIMIT)


def inspect_limit(candidates: Sequence[CompiledRoute]) -> int:
    """In bytes: the largest limit of the candidates that need the body. It is read once for all of them."""
    return max([route.inspect_limit for route in candidates if route.needs_body])


def paths_of(candidates: Sequence[CompiledRoute]) -> tuple[Path, ...]:
    paths: list[Path] = []
    for route in candidates:
        paths += route.json_paths
    return tuple(paths)


def unreadable(head: RequestHead) -> str:
    return "not_json" if head.field(b"content-encoding") is None else "encoded"
