"""Counts of this worker since the control plane last took them. Each exchange is recorded once (law 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossfade.dataplane.observe import observe
from crossfade.scale import RECENT_KEPT
from crossfade.stats.counts import ERROR, Cell, CellKey, Counts, CountsTable, Events
from crossfade.stats.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crossfade.dataplane.state import ExchangeState
    from crossfade.errors import Stage
    from crossfade.routing.router import AssignedBackend, CompiledRoute
    from crossfade.stats.pairs import Pair

KEYS_KEPT = 4096  # hashes of keys that met an event, in one report, for each route: both sides together
Timed = tuple[tuple[str, float], ...]


def events_of(cell: Cell, what: str) -> Events:
    events = cell.events.get(what)
    if events is None:
        cell.events[what] = events = Events()
    return events


class Run:
    """Usual exchanges in a row: answered with 200, in one piece, by whom they were assigned to."""

    __slots__ = ("seconds", "unkeyed")

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.unkeyed = 0


class Recorder:
    """Turns the end of an exchange into numbers.

    The usual ones are kept as a run of durations, and a run becomes numbers all at once: before
    something else is recorded of its arm, so that the order holds, and at each sweep, so that it is short.
    """

    def __init__(self) -> None:
        self.counts = CountsTable()
        self.runs: dict[AssignedBackend, Run] = {}
        self.keys_kept: dict[str, int] = {}
        self.answers_read: dict[str, int] = {}
        self.pairs_begun: dict[str, int] = {}

    @property
    def table(self) -> CountsTable:
        self.flush()
        return self.counts

    def take(self) -> Counts:
        self.keys_kept.clear()
        self.answers_read.clear()
        self.pairs_begun.clear()
        return self.table.take()

    def cell(self, key: CellKey) -> Cell:
        cell = self.counts.cells.get(key)
        if cell is None:
            self.counts.cells[key] = cell = Cell(*key)
        return cell

    def record(self, exchange: ExchangeState, assigned: AssignedBackend, ended_at: float) -> None:
        """Under the backend assigned, whoever answered. Abandoned exchanges give no duration and no blame."""
        if (
            exchange.status == 200
            and exchange.first_byte_at == ended_at
            and not exchange.stages
            and exchange.route.outcome_only
        ):
            run = self.runs.get(assigned)
            if run is None:
                self.runs[assigned] = run = Run()
            run.seconds.append(ended_at - exchange.started)
            if exchange.key is None:
                run.unkeyed += 1
            return
        run = self.runs.pop(assigned, None)
        if run is not None:
            self.flush_run(assigned, run)
        self.record_one(exchange, assigned, ended_at)

    def flush(self) -> None:
        runs, self.runs = self.runs, {}
        for assigned, run in runs.items():
            self.flush_run(assigned, run)

    def flush_run(self, assigned: AssignedBackend, run: Run) -> None:
        cell = self.cell(assigned.cell)
        durations = Histogram.of(run.seconds)
        cell.requests += durations.count
        cell.codes[200] = cell.codes.get(200, 0) + durations.count
        cell.unkeyed += run.unkeyed
        cell.duration.merge(durations)
        cell.first_byte.merge(durations)
        cell.recent = (cell.recent + [False] * durations.count)[-RECENT_KEPT:]

    def record_one(self, exchange: ExchangeState, assigned: AssignedBackend, ended_at: float) -> None:
        cell = self.cell(assigned.cell)
        cell.requests += 1
        code = exchange.status
        cell.codes[code] = cell.codes.get(code, 0) + 1
        if exchange.key is None:
            cell.unkeyed += 1
        if exchange.fell_back:
            cell.fell_back += 1
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
        cell.duration.add(seconds)
        if exchange.first_byte_at:
            cell.first_byte.add(exchange.first_byte_at - exchange.started)
        if assigned.limits:
            self.time(exchange, cell, assigned.limits, seconds)
        if exchange.route.prediction is not None:
            self.observe(exchange, cell)
        recent = cell.recent
        recent.append(exchange.blamed)
        if len(recent) > RECENT_KEPT:
            del recent[0]

    def observe(self, exchange: ExchangeState, cell: Cell) -> None:
        read = self.answers_read.get(cell.route, 0)
        unread = observe(exchange, cell, read)
        if unread:
            self.dropped(unread, 1)
        else:
            self.answers_read[cell.route] = read + 1

    def time(self, exchange: ExchangeState, cell: Cell, limits: Timed, seconds: float) -> None:
        """It has ended: the limits that it passed unseen, and those that a sweep has counted already."""
        for title, _ in limits[: exchange.early]:
            events_of(cell, title).early -= 1
        self.pass_limits(exchange, cell, limits, seconds)

    def sweep(self, exchanges: Iterable[ExchangeState], now: float) -> None:
        """Who is too old counts as slow at once: a backend that hangs would else not be seen (statistics 1.2).

        Only while it is the backend's turn: who is slow to ask, or to take the answer, blames nobody.
        """
        for exchange in exchanges:
            assigned = exchange.assigned
            assert assigned is not None
            limits, passed = assigned.limits, exchange.slow
            if passed == len(limits) or now - exchange.started <= limits[passed][1]:
                continue
            if exchange.request_done and not exchange.client_stalls:
                cell = self.cell(assigned.cell)
                self.pass_limits(exchange, cell, limits, now - exchange.started)
                exchange.early = exchange.slow
                for title, _ in limits[passed : exchange.slow]:
                    events_of(cell, title).early += 1

    def pass_limits(self, exchange: ExchangeState, cell: Cell, limits: Timed, seconds: float) -> None:
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

    def shadow(
        self, route: CompiledRoute, key: int | None, backend: str, status: int, seconds: float, error: bool
    ) -> None:
        """The answer to a mirrored copy; its role keeps it out of everything the client saw."""
        cell = self.cell((route.spec.name, backend, "shadow", route.version))
        if error and key is not None:
            self.event(cell, ERROR, key)
        for title, limit in route.limits.get(backend, ()):
            if seconds > limit:
                self.event(cell, title, key)
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
        self.counts.mirrors[key] = self.counts.mirrors.get(key, 0) + 1

    def ejected(self, backend: str, endpoint: str) -> None:
        key = (backend, endpoint)
        self.counts.ejections[key] = self.counts.ejections.get(key, 0) + 1

    def dropped(self, reason: str, n: int) -> None:
        """Observations that there was no room for."""
        if n:
            self.counts.dropped[reason] = self.counts.dropped.get(reason, 0) + n

    def unread(self, route: str, reason: str) -> None:
        """A body that a route asked something of, and that could not be read."""
        key = f"{route}:{reason}"
        self.counts.unread[key] = self.counts.unread.get(key, 0) + 1

    def refused(self, status: int, stage: Stage) -> None:
        what = f"{status}:{stage}"
        self.counts.refused[what] = self.counts.refused.get(what, 0) + 1
