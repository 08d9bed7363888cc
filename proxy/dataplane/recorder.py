"""Counts of this worker since the control plane last took them. Each exchange is recorded once (law 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.dataplane.observe import observe
from proxy.stats.counts import ERROR, RECENT_KEPT, Cell, CellKey, Counts, CountsTable, Events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.dataplane.exchange import Exchange
    from proxy.dataplane.mirror import MirrorCopy
    from proxy.errors import Stage
    from proxy.routing.router import CompiledRoute
    from proxy.stats.pairs import Pair

KEYS_KEPT = 4096  # hashes of keys that met an event, in one report, for each route: both sides together
Timed = tuple[tuple[str, float], ...]


def events_of(cell: Cell, what: str) -> Events:
    events = cell.events.get(what)
    if events is None:
        cell.events[what] = events = Events()
    return events


class Recorder:
    """Turns the end of an exchange into numbers."""

    def __init__(self) -> None:
        self.table = CountsTable()
        self.keys_kept: dict[str, int] = {}
        self.answers_read: dict[str, int] = {}
        self.pairs_begun: dict[str, int] = {}

    def take(self) -> Counts:
        self.keys_kept.clear()
        self.answers_read.clear()
        self.pairs_begun.clear()
        return self.table.take()

    def cell(self, key: CellKey) -> Cell:
        cell = self.table.cells.get(key)
        if cell is None:
            self.table.cells[key] = cell = Cell(*key)
        return cell

    def record(self, exchange: Exchange, ended_at: float) -> None:
        """Under the backend assigned, whoever answered. Abandoned exchanges give no duration and no blame."""
        route = exchange.route
        cell = self.cell((route.spec.name, exchange.backend, exchange.role, route.version))
        cell.requests += 1
        code = exchange.status
        cell.codes[code] = cell.codes.get(code, 0) + 1
        if exchange.key is None:
            cell.unkeyed += 1
        if exchange.spilled:
            cell.spilled += 1
        for stage in exchange.stages:
            cell.failures[stage] = cell.failures.get(stage, 0) + 1
        if exchange.abandoned:
            cell.abandoned += 1
            return
        if exchange.blamed:
            cell.errors += 1
            if exchange.key is not None:
                self.event(cell, ERROR, exchange.key)
        seconds = ended_at - exchange.started
        bucket = cell.duration.add(seconds)
        if route.limits:
            self.time(exchange, cell, seconds)
        if exchange.first_byte_at == ended_at:  # the answer came in one piece
            cell.first_byte.add_to(bucket, seconds)
        elif exchange.first_byte_at:
            cell.first_byte.add(exchange.first_byte_at - exchange.started)
        if route.prediction is not None:
            self.observe(exchange, cell)
        recent = cell.recent
        recent.append(exchange.blamed)
        if len(recent) > RECENT_KEPT:
            del recent[0]

    def observe(self, exchange: Exchange, cell: Cell) -> None:
        read = self.answers_read.get(cell.route, 0)
        unread = observe(exchange, cell, read)
        if unread:
            self.dropped(unread, 1)
        else:
            self.answers_read[cell.route] = read + 1

    def time(self, exchange: Exchange, cell: Cell, seconds: float) -> None:
        """It has ended: the limits that it passed unseen, and those that a sweep has counted already."""
        limits = exchange.route.limits.get(exchange.backend, ())
        for title, _ in limits[: exchange.early]:
            events_of(cell, title).early -= 1
        self.pass_limits(exchange, cell, limits, seconds)

    def sweep(self, exchanges: Iterable[Exchange], now: float) -> None:
        """Who is too old counts as slow at once: a backend that hangs would else not be seen (statistics 1.2).

        Only while it is the backend's turn: who is slow to ask, or to take the answer, blames nobody.
        """
        for exchange in exchanges:
            route = exchange.route
            limits = route.limits.get(exchange.backend, ())
            passed = exchange.slow
            if passed == len(limits) or now - exchange.started <= limits[passed][1]:
                continue
            if exchange.request_done and not exchange.client_stalls:
                cell = self.cell((route.spec.name, exchange.backend, exchange.role, route.version))
                self.pass_limits(exchange, cell, limits, now - exchange.started)
                exchange.early = exchange.slow
                for title, _ in limits[passed : exchange.slow]:
                    events_of(cell, title).early += 1

    def pass_limits(self, exchange: Exchange, cell: Cell, limits: Timed, seconds: float) -> None:
        while exchange.slow < len(limits) and seconds > limits[exchange.slow][1]:
            self.event(cell, limits[exchange.slow][0], exchange.key)
            exchange.slow += 1

    def event(self, cell: Cell, what: str, key: int | None) -> None:
        """Something rare that a request met; which keys did is for the control plane to sort out (rollout.firsts)."""
        events = events_of(cell, what)
        if key is None:
            events.unkeyed += 1
            return
        events.keyed += 1
        kept = self.keys_kept.get(cell.route, 0)
        if kept < KEYS_KEPT:
            self.keys_kept[cell.route] = kept + 1
            events.keys.append(key)
        else:
            self.dropped("event_keys", 1)

    def shadow(self, copy: MirrorCopy, backend: str, seconds: float, error: bool) -> None:
        """The answer to a mirrored copy; its role keeps it out of everything the client saw."""
        route, status = copy.route, copy.status
        cell = self.cell((route.spec.name, backend, "shadow", route.version))
        if error and copy.key is not None:
            self.event(cell, ERROR, copy.key)
        for title, limit in route.limits.get(backend, ()):
            if seconds > limit:
                self.event(cell, title, copy.key)
        cell.requests += 1
        cell.codes[status] = cell.codes.get(status, 0) + 1
        cell.errors += error
        cell.duration.add(seconds)

    def may_pair(self, route: str, most: int) -> bool:
        """Whether one more pair may begin in the time of this report."""
        begun = self.pairs_begun.get(route, 0)
        self.pairs_begun[route] = min(begun + 1, most)
        return begun < most

    def paired(self, route: CompiledRoute, challenger: str, pair: Pair) -> None:
        """Two decisions on one request; which of a key's pairs counts is for the control plane to sort out."""
        cell = self.cell((route.spec.name, challenger, "shadow", route.version))
        if pair.key is None:
            cell.pairs.add(*pair[1:])
        else:
            cell.keyed_pairs.append(pair)

    def mirrored(self, route: str, backend: str, outcome: str) -> None:
        key = (route, backend, outcome)
        self.table.mirrors[key] = self.table.mirrors.get(key, 0) + 1

    def ejected(self, backend: str, endpoint: str) -> None:
        key = (backend, endpoint)
        self.table.ejections[key] = self.table.ejections.get(key, 0) + 1

    def dropped(self, reason: str, n: int) -> None:
        """Observations that there was no room for."""
        if n:
            self.table.dropped[reason] = self.table.dropped.get(reason, 0) + n

    def unread(self, route: str, reason: str) -> None:
        """A body that a route asked something of, and that could not be read."""
        key = f"{route}:{reason}"
        self.table.unread[key] = self.table.unread.get(key, 0) + 1

    def refused(self, status: int, stage: Stage) -> None:
        what = f"{status}:{stage}"
        self.table.refused[what] = self.table.refused.get(what, 0) + 1
