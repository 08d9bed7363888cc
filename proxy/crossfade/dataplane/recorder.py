"""Counts of this worker since the last report to the control plane. Each exchange is recorded once (law 1)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from crossfade.dataplane.cell_counts import count_at, events_of, fault_of, is_rejection
from crossfade.dataplane.logged_rows import LoggedRows
from crossfade.dataplane.panel import KEYS_KEPT, Panels
from crossfade.dataplane.run import Run
from crossfade.dataplane.sampling import Samples
from crossfade.dataplane.tally import histogram_of
from crossfade.dataplane.tracing import Spans
from crossfade.errors import Stage
from crossfade.scale import RECENT_KEPT
from crossfade.stats.counts import (
    ANY_SECOND,
    ERROR,
    REJECTED,
    REQUESTS,
    SHADOW,
    Cell,
    CellKey,
    Counts,
    CountsTable,
    Exemplar,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crossfade.dataplane.endpoint import EndpointState
    from crossfade.dataplane.outcome import CopyOutcome, Outcome
    from crossfade.dataplane.state import ExchangeState
    from crossfade.routing.router import AssignedBackend, CompiledRoute
    from crossfade.stats.pairs import Pair

CELLS_KEPT = 4096  # in a report; above that, cells of several seconds become one
FINEST, COARSEST = 10, 1_000_000  # seconds
Timed = tuple[tuple[str, float], ...]


class Recorder:
    """Counts each exchange when it ends.

    The durations of usual exchanges are collected in a run, and a run is counted at once. This happens before
    another outcome of the same cell is recorded, which keeps the order, and at each sweep, which keeps runs short.
    """

    def __init__(self) -> None:
        self.counts = CountsTable()
        self.runs: dict[AssignedBackend, Run] = {}
        self.other_runs: dict[CellKey, Run] = {}  # on guarded routes, of other seconds than those in `runs`
        self.panels = Panels()
        self.grain = FINEST  # how many seconds become one cell where there are too many cells
        self.keys_kept: dict[tuple[str, str], int] = {}
        self.samples = Samples()
        self.spans = Spans()
        self.logged = LoggedRows()
        self.pairs_begun: dict[str, int] = {}

    @property
    def table(self) -> CountsTable:
        self.flush()
        return self.counts

    def take(self) -> Counts:
        """All counts since the last call. The limits per report start again."""
        self.keys_kept.clear()
        self.pairs_begun.clear()
        self.flush()
        self.panels.fit(self.counts.cells.values())
        self.grain = FINEST
        self.spans.begin()
        return self.counts.take()

    def cell(self, key: CellKey) -> Cell:
        cell = self.counts.cells.get(key)
        if cell is None:
            self.counts.cells[key] = cell = Cell.of(key)
        return cell

    def usual(
        self,
        assigned: AssignedBackend,
        started: float,
        first_byte: float,
        ended: float,
        key: int | None,
        endpoint: EndpointState | None,
    ) -> None:
        """Add one usual exchange to the run of its backend. Times are those of the monotonic clock."""
        run = self.run_of(assigned, started)
        if run.guarded:
            run.keys.append(key or 0)
            if endpoint is not None and endpoint.label is not None:
                run.endpoints.append(endpoint.label)
        if first_byte == ended:
            run.seconds.append(ended - started)
        else:
            run.first_bytes.append(first_byte - started)
            run.ends.append(ended - started)
        if key is None:
            run.unkeyed += 1

    def usual_copy(self, copy: CopyOutcome) -> None:
        """Add a copy that was answered as usual to the run of its mirror."""
        run = self.run_of(copy.shadow, copy.routed_at)
        run.seconds.append(copy.seconds)
        if run.guarded:
            run.keys.append(copy.key or 0)
            if copy.endpoint is not None:
                run.endpoints.append(copy.endpoint)
        if copy.key is None:
            run.unkeyed += 1

    def run_of(self, assigned: AssignedBackend, started: float) -> Run:
        run = self.runs.get(assigned)
        if assigned.guarded:
            if run is None or started < run.since or started >= run.until:
                run = self.change_run(assigned, run, started)
        elif run is None:
            self.runs[assigned] = run = Run(assigned.cell, False)
        return run

    def change_run(self, assigned: AssignedBackend, before: Run | None, started: float) -> Run:
        """The run of the second of `started`, in the place of that of another second."""
        if before is not None:
            self.other_runs[before.cell] = before
        cell = assigned.cell_of(started)
        self.runs[assigned] = run = self.other_runs.pop(cell, None) or Run(cell, True)
        return run

    def record(self, outcome: Outcome, assigned: AssignedBackend) -> None:
        """Count the outcome under the assigned backend, even if the fallback answered.

        An abandoned exchange adds no duration and no error.
        """
        run = self.runs.pop(assigned, None)
        if run is not None:
            self.flush_run(run)
        if self.other_runs:
            run = self.other_runs.pop(assigned.cell_of(outcome.started_at), None)
            if run is not None:
                self.flush_run(run)
        self.record_one(outcome, assigned)

    def flush(self) -> None:
        runs = [*self.runs.values(), *self.other_runs.values()]
        self.runs, self.other_runs = {}, {}
        for run in runs:
            self.flush_run(run)
        self.dropped("answers", self.samples.take_passed())
        self.dropped("prediction_log", self.logged.take_dropped())
        self.dropped("spans", self.spans.take_dropped())
        self.bound()

    def flush_run(self, run: Run) -> None:
        cell = self.cell(run.cell)
        durations = histogram_of(run.seconds)
        cell.duration.merge(durations)
        n = durations.count
        if cell.role == SHADOW:
            self.flush_copies(run, cell, n)
            return
        cell.first_byte.merge(durations)
        if run.ends:
            cell.duration.merge(histogram_of(run.ends))
            cell.first_byte.merge(histogram_of(run.first_bytes))
            n += len(run.ends)
        cell.requests += n
        cell.codes[200] = cell.codes.get(200, 0) + n
        cell.responses[200] = cell.responses.get(200, 0) + n
        cell.unkeyed += run.unkeyed
        outcomes = [0] * n
        if run.guarded:
            outcomes = [key & -2 for key in run.keys[-RECENT_KEPT:]]
            self.name_all(run, cell, n)
        cell.recent = (cell.recent + outcomes)[-RECENT_KEPT:]

    def flush_copies(self, run: Run, cell: Cell, n: int) -> None:
        cell.requests += n
        cell.codes[200] = cell.codes.get(200, 0) + n
        if run.guarded:
            self.name_all(run, cell, n)
        self.mirrored(cell.route, cell.backend, "sent", n)

    def name_all(self, run: Run, cell: Cell, n: int) -> None:
        """Count the requests of the run by their keys and by their endpoints."""
        cell.keys.hashes.extend(filter(None, run.keys) if run.unkeyed else run.keys)
        self.panels.named += n - run.unkeyed
        for endpoint, asked in Counter(run.endpoints).items():
            count_at(cell, endpoint, REQUESTS, asked)

    def bound(self) -> None:
        """Where no control process takes the counts, keep what they hold within limits."""
        if self.panels.named > KEYS_KEPT:
            self.panels.fit(self.counts.cells.values())
        if len(self.counts.cells) > CELLS_KEPT and self.grain <= COARSEST:
            self.counts.join_seconds(self.grain)
            if len(self.counts.cells) > CELLS_KEPT // 2:
                self.grain *= 10

    def record_one(self, outcome: Outcome, assigned: AssignedBackend) -> None:
        cell = self.cell(assigned.cell_of(outcome.started_at))
        cell.requests += 1
        key, status, code = outcome.key, outcome.status, outcome.code or outcome.status
        cell.codes[code] = cell.codes.get(code, 0) + 1
        cell.responses[status] = cell.responses.get(status, 0) + 1
        if key is None:
            cell.unkeyed += 1
        if outcome.stages:
            self.count_stages(outcome, cell)
        if outcome.abandoned:
            cell.abandoned += 1
            return
        blamed = outcome.blamed
        if blamed:
            cell.errors += 1
            kind = fault_of(outcome, code)
            cell.faults[kind] = cell.faults.get(kind, 0) + 1
            self.keyed_event(cell, ERROR, key)
        elif code >= 400 and is_rejection(outcome, code):
            kind = str(code)
            cell.rejections[kind] = cell.rejections.get(kind, 0) + 1
            self.keyed_event(cell, REJECTED, key)
        seconds = outcome.ended_at - outcome.started_at
        cell.duration.add(seconds)
        if outcome.first_byte_at:
            cell.first_byte.add(outcome.first_byte_at - outcome.started_at)
        if assigned.limits:
            self.time(outcome, cell, assigned.limits, seconds)
        said = int(blamed)
        if assigned.guarded:
            self.name(cell, key, outcome.asked, blamed)
            said |= (key or 0) & -2  # as `outcome_of`, without a call
        recent = cell.recent
        recent.append(said)
        if len(recent) > RECENT_KEPT:
            del recent[0]

    def name(self, cell: Cell, key: int | None, endpoint: str | None, blamed: bool) -> None:
        """Count one request by its key and by its endpoint."""
        if key is not None:
            cell.keys.hashes.append(key)
            self.panels.named += 1
        if endpoint is not None:
            count_at(cell, endpoint, REQUESTS)
            if blamed:
                count_at(cell, endpoint, ERROR)

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

    def time(self, outcome: Outcome, cell: Cell, limits: Timed, seconds: float) -> None:
        """Count the latency limits that the exchange has exceeded, except those that a sweep has already counted."""
        for title, _ in limits[: outcome.early]:
            events_of(cell, title).early -= 1
        self.pass_limits(cell, limits, outcome.key, outcome.asked, seconds, outcome.slow)

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
            if exchange.request_done and not exchange.client_stalls and not exchange.waiting_since:
                cell = self.cell(assigned.cell_of(exchange.started))
                asked = exchange.asked if assigned.guarded else None
                seconds = now - exchange.started
                exchange.slow = self.pass_limits(cell, limits, exchange.key, asked, seconds, passed)
                exchange.early = exchange.slow
                for title, _ in limits[passed : exchange.slow]:
                    events_of(cell, title).early += 1

    def pass_limits(
        self, cell: Cell, limits: Timed, key: int | None, endpoint: str | None, seconds: float, passed: int
    ) -> int:
        """Count the limits exceeded after `seconds`; the first `passed` are already counted. Returns the new total.

        `endpoint`: to count them under too; its request may be counted later.
        """
        while passed < len(limits) and seconds > limits[passed][1]:
            self.event(cell, limits[passed][0], key)
            if endpoint is not None:
                count_at(cell, endpoint, limits[passed][0])
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

    def shadow(self, copy: CopyOutcome) -> None:
        """Count the answer to a mirrored copy. The role `shadow` keeps it apart from what clients saw.

        Its second is that of the request, as those of the champion are with which it is compared.
        """
        route, shadow, key, status = copy.route, copy.shadow, copy.key, copy.status
        cell = self.cell(shadow.cell_of(copy.routed_at))
        endpoint = copy.endpoint if shadow.guarded else None
        blamed = copy.failed is not None or status in route.error_statuses
        if blamed:
            kind = copy.failed or str(status)
            cell.errors += 1
            cell.faults[kind] = cell.faults.get(kind, 0) + 1
            self.keyed_event(cell, ERROR, key)
        elif status in route.rejections:
            kind = str(status)
            cell.rejections[kind] = cell.rejections.get(kind, 0) + 1
            self.keyed_event(cell, REJECTED, key)
        self.pass_limits(cell, shadow.limits, key, endpoint, copy.seconds, 0)
        cell.requests += 1
        cell.codes[status] = cell.codes.get(status, 0) + 1
        cell.duration.add(copy.seconds)
        if shadow.guarded:
            self.name(cell, key, endpoint, blamed)

    def may_pair(self, route: str, most: int) -> bool:
        """Take one pair of this report's limit `most`. False if none is left."""
        begun = self.pairs_begun.get(route, 0)
        self.pairs_begun[route] = min(begun + 1, most)
        return begun < most

    def paired(self, route: CompiledRoute, challenger: str, pair: Pair) -> None:
        """Count two decisions on one request. The control plane decides which pair of a key counts."""
        cell = self.cell((route.spec.name, challenger, SHADOW, route.version, ANY_SECOND))
        if pair.key is None:
            cell.pairs.add(*pair[1:])
        else:
            cell.keyed_pairs.append(pair)

    def mirrored(self, route: str, backend: str, outcome: str, n: int = 1) -> None:
        key = (route, backend, outcome)
        self.counts.mirrors[key] = self.counts.mirrors.get(key, 0) + n

    def ejected(self, backend: str, endpoint: str) -> None:
        key = (backend, endpoint)
        self.counts.ejections[key] = self.counts.ejections.get(key, 0) + 1

    def span(self, exchange: ExchangeState, now: float) -> None:
        """Pass the facts of its span on to the observer, and name its trace beside the durations."""
        span = self.spans.of(exchange, now)
        if span is not None:
            self.samples.waiting.append(span)
            if span.place[0]:
                found = Exemplar(*span.place, span.ids[0].decode(), span.seconds, span.at)
                self.counts.exemplars[found.place] = found

    def dropped(self, reason: str, n: int) -> None:
        """Count what was dropped, by reason."""
        self.counts.drop(reason, n)

    def unread(self, route: str, reason: str) -> None:
        """Count a request body that the route had to inspect and could not read."""
        key = f"{route}:{reason}"
        self.counts.unread[key] = self.counts.unread.get(key, 0) + 1

    def cache(self, route: str, outcome: str) -> None:
        """Count what the response cache of a route did: hit, miss, bypass, or kept."""
        key = f"{route}:{outcome}"
        self.counts.cache[key] = self.counts.cache.get(key, 0) + 1

    def refused(self, status: int, stage: Stage) -> None:
        what = f"{status}:{stage}"
        self.counts.refused[what] = self.counts.refused.get(what, 0) + 1
