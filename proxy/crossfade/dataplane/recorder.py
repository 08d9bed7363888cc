"""Counts of this worker since the last report to the control plane. Each exchange is recorded once (law 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossfade.dataplane.observe import AnswerLog
from crossfade.errors import Stage
from crossfade.scale import RECENT_KEPT
from crossfade.stats.counts import (
    ANY_SECOND,
    ERROR,
    REJECTED,
    UNREADABLE,
    Cell,
    CellKey,
    Counts,
    CountsTable,
    Events,
)
from crossfade.stats.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crossfade.dataplane.outcome import Outcome
    from crossfade.dataplane.state import ExchangeState
    from crossfade.routing.router import AssignedBackend, CompiledRoute
    from crossfade.stats.observation import Observation
    from crossfade.stats.pairs import Pair

KEYS_KEPT = 4096  # hashes of keys with an event, per report, route and kind, both backends together
Timed = tuple[tuple[str, float], ...]


def fault_of(outcome: Outcome, code: int) -> str:
    """The kind of an error: the status of a complete answer, else the stage at which there was none."""
    stage = outcome.fallback_stage or (outcome.stages[-1] if outcome.stages else Stage.STATUS)
    return str(code) if stage is Stage.STATUS else stage


def is_rejection(outcome: Outcome, code: int) -> bool:
    """Whether the assigned backend itself answered so, and the route counts this status as a rejection."""
    answered = outcome.answered_by != "" and not outcome.fell_back
    return answered and outcome.route is not None and code in outcome.route.rejections


def events_of(cell: Cell, what: str) -> Events:
    events = cell.events.get(what)
    if events is None:
        cell.events[what] = events = Events()
    return events


class Run:
    """Consecutive usual exchanges: answered with 200 by the assigned backend, on a route without latency limits.

    `seconds`: durations of the exchanges whose answer came in one piece. For the others, `first_bytes` holds
    the time to the first byte and `ends` the duration.
    """

    __slots__ = ("ends", "first_bytes", "seconds", "unkeyed")

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.first_bytes: list[float] = []
        self.ends: list[float] = []
        self.unkeyed = 0


class Recorder:
    """Counts each exchange when it ends.

    The durations of usual exchanges are collected in a run, and a run is counted at once. This happens before
    another outcome of the same backend is recorded, which keeps the order, and at each sweep, which keeps runs short.
    """

    def __init__(self) -> None:
        self.counts = CountsTable()
        self.runs: dict[AssignedBackend, Run] = {}
        self.keys_kept: dict[tuple[str, str], int] = {}
        self.answers = AnswerLog()
        self.pairs_begun: dict[str, int] = {}

    @property
    def table(self) -> CountsTable:
        self.flush()
        return self.counts

    def take(self) -> Counts:
        """All counts since the last call. The limits per report start again."""
        self.keys_kept.clear()
        self.pairs_begun.clear()
        self.dropped("observations", self.answers.begin_report())
        return self.table.take()

    def take_observations(self) -> list[Observation]:
        """The observations since the last call. Call it together with `take`."""
        return self.answers.take()

    def cell(self, key: CellKey) -> Cell:
        cell = self.counts.cells.get(key)
        if cell is None:
            self.counts.cells[key] = cell = Cell.of(key)
        return cell

    def usual(
        self, assigned: AssignedBackend, started: float, first_byte: float, ended: float, key: int | None
    ) -> None:
        """Add one usual exchange to the run of its backend. Times are those of the monotonic clock."""
        run = self.runs.get(assigned)
        if run is None:
            self.runs[assigned] = run = Run()
        if first_byte == ended:
            run.seconds.append(ended - started)
        else:
            run.first_bytes.append(first_byte - started)
            run.ends.append(ended - started)
        if key is None:
            run.unkeyed += 1

    def record(self, outcome: Outcome, assigned: AssignedBackend) -> None:
        """Count the outcome under the assigned backend, even if the fallback answered.

        An abandoned exchange adds no duration and no error.
        """
        run = self.runs.pop(assigned, None)
        if run is not None:
            self.flush_run(assigned, run)
        self.record_one(outcome, assigned)

    def flush(self) -> None:
        runs, self.runs = self.runs, {}
        for assigned, run in runs.items():
            self.flush_run(assigned, run)

    def flush_run(self, assigned: AssignedBackend, run: Run) -> None:
        cell = self.cell(assigned.cell)
        durations = Histogram.of(run.seconds)
        cell.duration.merge(durations)
        cell.first_byte.merge(durations)
        n = durations.count
        if run.ends:
            cell.duration.merge(Histogram.of(run.ends))
            cell.first_byte.merge(Histogram.of(run.first_bytes))
            n += len(run.ends)
        cell.requests += n
        cell.codes[200] = cell.codes.get(200, 0) + n
        cell.responses[200] = cell.responses.get(200, 0) + n
        cell.unkeyed += run.unkeyed
        cell.recent = (cell.recent + [0] * n)[-RECENT_KEPT:]

    def record_one(self, outcome: Outcome, assigned: AssignedBackend) -> None:
        cell = self.cell(assigned.cell)
        cell.requests += 1
        status, code = outcome.status, outcome.code or outcome.status
        cell.codes[code] = cell.codes.get(code, 0) + 1
        cell.responses[status] = cell.responses.get(status, 0) + 1
        if outcome.key is None:
            cell.unkeyed += 1
        if outcome.stages:
            self.count_stages(outcome, cell)
        if outcome.abandoned:
            cell.abandoned += 1
            return
        if outcome.blamed:
            cell.errors += 1
            kind = fault_of(outcome, code)
            cell.faults[kind] = cell.faults.get(kind, 0) + 1
            self.keyed_event(cell, ERROR, outcome.key)
        elif code >= 400 and is_rejection(outcome, code):
            kind = str(code)
            cell.rejections[kind] = cell.rejections.get(kind, 0) + 1
            self.keyed_event(cell, REJECTED, outcome.key)
        seconds = outcome.ended_at - outcome.started_at
        cell.duration.add(seconds)
        if outcome.first_byte_at:
            cell.first_byte.add(outcome.first_byte_at - outcome.started_at)
        if assigned.limits:
            self.time(outcome, cell, assigned.limits, seconds)
        if outcome.route is not None and outcome.route.reader is not None:
            self.observe(outcome, assigned)
        recent = cell.recent
        recent.append(int(outcome.blamed))
        if len(recent) > RECENT_KEPT:
            del recent[0]

    def count_stages(self, outcome: Outcome, cell: Cell) -> None:
        for stage in outcome.stages:
            cell.failures[stage] = cell.failures.get(stage, 0) + 1
        for stage in outcome.retried:
            cell.retries[stage] = cell.retries.get(stage, 0) + 1
        why = outcome.fallback_stage
        if outcome.fell_back:
            cell.fell_back += 1
        if why is not None:
            cell.fallbacks[why] = cell.fallbacks.get(why, 0) + 1

    def observe(self, outcome: Outcome, assigned: AssignedBackend) -> None:
        """Read the answer, on a route that has a reader."""
        cell = self.cell(assigned.cell)
        unread = self.answers.add(outcome, assigned, cell)
        if unread:
            self.dropped(unread, 1)
            if unread == UNREADABLE:
                cell.unreadable += 1
                self.keyed_event(cell, UNREADABLE, outcome.key)

    def time(self, outcome: Outcome, cell: Cell, limits: Timed, seconds: float) -> None:
        """Count the latency limits that the exchange has exceeded, except those that a sweep has already counted."""
        for title, _ in limits[: outcome.early]:
            events_of(cell, title).early -= 1
        self.pass_limits(cell, limits, outcome.key, seconds, outcome.slow)

    def sweep(self, exchanges: Iterable[ExchangeState], now: float) -> None:
        """Count an exchange as slow as soon as it exceeds a latency limit (statistics 1.2).

        Otherwise a backend that hangs would not be noticed. Exchanges that wait for the client are not
        counted: a client that sends or reads slowly does not count against the backend.
        """
        for exchange in exchanges:
            assigned = exchange.assigned
            assert assigned is not None
            limits, passed = assigned.limits, exchange.slow
            if passed == len(limits) or now - exchange.started <= limits[passed][1]:
                continue
            if exchange.request_done and not exchange.client_stalls:
                cell = self.cell(assigned.cell)
                seconds = now - exchange.started
                exchange.slow = self.pass_limits(cell, limits, exchange.key, seconds, passed)
                exchange.early = exchange.slow
                for title, _ in limits[passed : exchange.slow]:
                    events_of(cell, title).early += 1

    def pass_limits(self, cell: Cell, limits: Timed, key: int | None, seconds: float, passed: int) -> int:
        """Count the limits exceeded after `seconds`; the first `passed` are already counted. Returns the new total."""
        while passed < len(limits) and seconds > limits[passed][1]:
            self.event(cell, limits[passed][0], key)
            passed += 1
        return passed

    def event(self, cell: Cell, what: str, key: int | None) -> None:
        """Count a rare event of a request. The control plane counts each key once (rollout.firsts)."""
        if key is None:
            events_of(cell, what).unkeyed += 1
        else:
            self.keyed_event(cell, what, key)

    def keyed_event(self, cell: Cell, what: str, key: int | None) -> None:
        """Keep the key of an event; without a key, the cell's own number of such events has it."""
        if key is None:
            return
        events = events_of(cell, what)
        events.keyed += 1
        kept = self.keys_kept.get((cell.route, what), 0)
        if kept < KEYS_KEPT:
            self.keys_kept[cell.route, what] = kept + 1
            events.keys.append(key)
        else:
            self.dropped("event_keys", 1)

    def shadow(
        self,
        route: CompiledRoute,
        key: int | None,
        backend: str,
        status: int,
        seconds: float,
        failed: Stage | None,
    ) -> None:
        """Count the answer to a mirrored copy. The role `shadow` keeps it apart from what clients saw.

        `failed`: the stage at which there was no whole answer.
        """
        cell = self.cell((route.spec.name, backend, "shadow", route.version, ANY_SECOND))
        if failed is not None or status in route.error_statuses:
            kind = failed or str(status)
            cell.errors += 1
            cell.faults[kind] = cell.faults.get(kind, 0) + 1
            self.keyed_event(cell, ERROR, key)
        elif status in route.rejections:
            kind = str(status)
            cell.rejections[kind] = cell.rejections.get(kind, 0) + 1
            self.keyed_event(cell, REJECTED, key)
        for title, limit in route.limits.get(backend, ()):
            if seconds > limit:
                self.event(cell, title, key)
        cell.requests += 1
        cell.codes[status] = cell.codes.get(status, 0) + 1
        cell.duration.add(seconds)

    def may_pair(self, route: str, most: int) -> bool:
        """Take one pair of this report's limit `most`. False if none is left."""
        begun = self.pairs_begun.get(route, 0)
        self.pairs_begun[route] = min(begun + 1, most)
        return begun < most

    def paired(self, route: CompiledRoute, challenger: str, pair: Pair) -> None:
        """Count two decisions on one request. The control plane decides which pair of a key counts."""
        cell = self.cell((route.spec.name, challenger, "shadow", route.version, ANY_SECOND))
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
        """Count what was dropped, by reason."""
        self.counts.drop(reason, n)

    def unread(self, route: str, reason: str) -> None:
        """Count a request body that the route had to inspect and could not read."""
        key = f"{route}:{reason}"
        self.counts.unread[key] = self.counts.unread.get(key, 0) + 1

    def refused(self, status: int, stage: Stage) -> None:
        what = f"{status}:{stage}"
        self.counts.refused[what] = self.counts.refused.get(what, 0) + 1
