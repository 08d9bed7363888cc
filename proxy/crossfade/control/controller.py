"""The controller: one process decides for all routes, and `tick` is how, from top to bottom.

Rule (law 3): where a challenger's exposure rises, the decision is on disk before the snapshot that
raises it is published; where it falls, the snapshot goes first. Operators' commands are events to
the same machine and take turns with the tick, so there is no second path and no interleaving.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from msgspec.structs import replace

from crossfade.config import split
from crossfade.config.load import Loaded
from crossfade.config.problem import BadValue
from crossfade.control.change import Cause, Change, change_by_event, change_of_split
from crossfade.control.controller_state import ControllerState, Endpoints
from crossfade.control.journal import Journal
from crossfade.control.loading import ReconciledRoute, reconcile
from crossfade.control.refusal import Invalid, Refused
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.seam import Seam
from crossfade.control.store import Store
from crossfade.control.subscription import Feed
from crossfade.control.viewing import Views
from crossfade.control.views import Decision, RolloutView, RouteView, StatusChange, Verb
from crossfade.rollout.external import Reading
from crossfade.rollout.machine import Event, NotAllowedError
from crossfade.routing.snapshot import Limits, compile_snapshot
from crossfade.stats.counts import Counts
from crossfade.stats.window import ANY_VERSION

log = logging.getLogger("crossfade.control")

EVIDENCE_INTERVAL = 1.0  # seconds between two savings of the evidence
LOOP = "loop"


class Controller:
    """Times are wall-clock seconds. `views` is its read side."""

    def __init__(self, store: Store, seam: Seam, workers: int = 1) -> None:
        self.state = ControllerState()
        self.journal = Journal(store)
        self.views = Views(self.state, self.journal, seam)
        self.feed = Feed()
        self.seam = seam
        self.worker_count = workers
        self.unclaimed = store.records()  # of routes that no configuration has named yet
        self.readings: Callable[[float], Mapping[str, Reading]] = lambda now: {}  # of `prometheus` checks
        self.turn = asyncio.Lock()
        self.published_limits: dict[str, Limits] = {}  # by route
        self.evidence_saved_at = 0.0
        self.store_was_ok = True

    # ── the health loop ───────────────────────────────────────────────────────────────────────

    async def tick(self, now: float) -> None:
        """Counts → totals, window, evidence → fuse, checks, verdicts → event → machine → decisions → acts."""
        async with self.turn:
            self.state.now = now
            counts = self.seam.take()
            self.count(counts, now)
            self.notice_lag()
            self.hear(now)
            for route, cells in counts.by_route().items():
                if route in self.state.routes:
                    self.state.routes[route].gather(cells, now)
            changes = [change for live in self.state.routes.values() for change in self.decide(live, now)]
            await self.enact(changes)
            if any(
                live.limits != self.published_limits.get(live.name, {}) for live in self.state.routes.values()
            ):
                await self.publish()
            self.save_evidence(now)
            self.report_store(now)

    def count(self, counts: Counts, now: float) -> None:
        """Into the totals (over all ledger versions, of which there is no end) and the window."""
        cells = [cell.outcomes(ANY_VERSION) for cell in counts.cells]
        self.state.totals.add(replace(counts, cells=cells))
        self.state.window.add(counts.cells, now)

    def notice_lag(self) -> None:
        lag = max((worker.loop_lag for worker in self.seam.workers() if worker.up), default=0.0)
        for _, rollout in self.state.rollouts():
            rollout.notice(lag)

    def hear(self, now: float) -> None:
        readings = self.readings(now)
        for _, rollout in self.state.rollouts():
            rollout.hear(readings)

    def decide(self, live: RouteRuntime, now: float) -> list[Change]:
        """What the loop wants of this route, one thing at a time and what lowers exposure first."""
        wanted = []
        for name, rollout in live.rollouts.items():
            move = rollout.next_move(self.state.is_ready(name), now)
            if move.event is not None:
                cause = Cause(LOOP, move.reason, now, self.state.config.hash)
                known = self.state.durations(live.name, rollout.state.champion)
                wanted.append(change_by_event(live, name, move.event, cause, known))
        return sorted(filter(None, wanted), key=lambda change: change.rises)[:1]

    async def enact(self, changes: Sequence[Change]) -> bool:
        """False when a rise could not be written, and so is not."""
        falls = [change for change in changes if not change.rises]
        rises = [change for change in changes if change.rises]
        if falls:
            await self.apply_decrease(falls)
        return not rises or await self.apply_increase(rises)

    async def apply_decrease(self, changes: Sequence[Change]) -> None:
        """The snapshot is on its way before the disk is waited for."""
        decided = monotonic()
        before = [c.live.orders for c in changes]
        self.commit_state(changes)
        moved = before != [c.live.orders for c in changes]
        async with asyncio.TaskGroup() as tasks:
            if moved:
                tasks.create_task(self.publish(decided))
                await asyncio.sleep(0)
            self.tell(self.journal.write([change.entry for change in changes]))

    async def apply_increase(self, changes: Sequence[Change]) -> bool:
        """The disk first; what it does not take does not happen."""
        decided = monotonic()
        decisions = self.journal.write_first([change.entry for change in changes])
        if decisions is None:
            for change in changes:
                if change.challenger:
                    rollout = change.live.rollouts[change.challenger]
                    rollout.waiting_for = f"the state to be writable: {self.journal.error}"
            return False
        self.commit_state(changes)
        await self.publish(decided)
        self.tell(decisions)
        return True

    def commit_state(self, changes: Sequence[Change]) -> None:
        for change in changes:
            change.live.renew(change.live.config, change.record, change.evidence)
            self.look_ahead(change.live)

    def look_ahead(self, live: RouteRuntime) -> None:
        """So that it is known at once, and not only at the next tick, what each rollout waits for."""
        for name, rollout in live.rollouts.items():
            rollout.next_move(self.state.is_ready(name), self.state.now)

    async def publish(self, decided: float | None = None) -> None:
        """Returns when every live worker serves from what the controller holds now.

        `decided`: on the monotonic clock, if this follows from a decision; from here on a worker's next
        request goes by it.
        """
        self.state.generation += 1
        lives = self.state.routes.values()
        self.published_limits = {live.name: live.limits for live in lives}
        snapshot = compile_snapshot(
            self.state.config,
            {live.name: live.record.ledger for live in lives},
            {live.name: live.roles for live in lives},
            self.state.down,
            self.state.generation,
            self.worker_count,
            {live.name: live.trial for live in lives},
        )
        await self.seam.publish(snapshot)
        if decided is not None:
            self.state.decision_to_traffic.add(monotonic() - decided)

    def save_evidence(self, now: float) -> None:
        """So that a proxy that starts again goes on with it."""
        if now - self.evidence_saved_at < EVIDENCE_INTERVAL and now >= self.evidence_saved_at:
            return
        self.evidence_saved_at = now
        guarded = {live.name: live.evidence for live in self.state.routes.values() if live.is_guarded}
        if guarded or not self.journal.ok:
            self.journal.save_evidence(guarded)

    def report_store(self, now: float) -> None:
        """Say when the state can no longer be written, and when it can again."""
        if self.journal.ok != self.store_was_ok:
            self.store_was_ok = self.journal.ok
            detail = "writable again" if self.journal.ok else self.journal.error
            log.warning("state: %s", detail)
            self.feed.tell(StatusChange(now, "store", None, detail))

    def tell(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            log.info("%s: %s by %s: %s", decision.route, decision.action, decision.actor, decision.reason)
            self.feed.tell(decision)

    # ── what comes from outside ───────────────────────────────────────────────────────────────

    async def load(self, loaded: Loaded, actor: str, now: float) -> None:
        """Start, or reload; returns when every worker has it.

        Raises Refused when what follows from it cannot be written; then nothing has changed.
        """
        async with self.turn:
            held = self.unclaimed | {
                live.name: (live.record, live.evidence) for live in self.state.routes.values()
            }
            cause = Cause(actor, "", now, loaded.hash)
            reconciled, entries = reconcile(loaded.config, held, cause, self.state.durations)
            decisions = self.journal.write_first(entries) if entries else []
            if decisions is None:
                raise Refused(f"the configuration is not loaded: {self.journal.error}")
            self.accept(loaded, reconciled, now)
            await self.publish()
            self.tell(decisions)
            self.feed.tell(StatusChange(now, "config", None, f"loaded by {actor}"))

    def accept(self, loaded: Loaded, reconciled: Sequence[ReconciledRoute], now: float) -> None:
        """From here on this is the configuration."""
        self.state.config, self.state.config_ok = loaded, True
        self.state.last_reload_at, self.state.last_reload_error = now, ""
        self.state.started, self.state.now = self.state.started or now, now
        before, self.state.routes, self.unclaimed = self.state.routes, {}, {}
        for route, record, evidence in reconciled:
            live = before.get(route.name)
            if live is None:
                live = RouteRuntime(route, record, evidence)
            else:
                live.renew(route, record, evidence)
            self.state.routes[route.name] = live
            self.look_ahead(live)

    def refuse_config(self, error: str) -> None:
        """A reload that failed: the configuration stays, and status says what was wrong."""
        self.state.config_ok, self.state.last_reload_error = False, error
        self.feed.tell(StatusChange(self.state.now, "config", None, error))

    async def endpoints_changed(self, down: Endpoints, now: float, seen: Endpoints | None = None) -> None:
        """Endpoints as (backend, name): those `down`, and those that ever were `seen` healthy."""
        async with self.turn:
            self.state.seen_up = self.state.seen_up if seen is None else seen
            if down != self.state.down:
                fell, rose = sorted(down - self.state.down), sorted(self.state.down - down)
                self.state.down = down
                for _, rollout in self.state.rollouts():
                    for name, _ in rose:
                        rollout.warm(name, now)
                await self.publish()
                said = [f"{at} of {name} is down" for name, at in fell]
                said += [f"{at} of {name} is up" for name, at in rose]
                self.feed.tell(StatusChange(now, "endpoints", None, "; ".join(said)))

    async def set_split(self, route: str, weights: Mapping[str, float], actor: str, now: float) -> RouteView:
        """Plain weights in any unit. Returns when every worker has the new ledger."""
        async with self.turn:
            live = self.state.route(route)
            for state in live.record.rollouts.values():
                if state.is_running:
                    raise Refused(f"a rollout is {state.phase} on {route}; abort it, or let it end")
            wanted = self.parsed(weights)
            if wanted != {name: weight for name, weight in live.record.ledger.weights.items() if weight}:
                change = change_of_split(
                    live, wanted, Cause(actor, "a new split", now, self.state.config.hash)
                )
                if not await self.apply_increase([change]):
                    raise Refused(f"the split stays as it is: {self.journal.error}")
            return self.views.route(route)

    def parsed(self, weights: Mapping[str, float]) -> dict[str, int]:
        """Out of 10 000, those with a weight only."""
        unknown = [name for name in weights if name not in self.state.config.config.backends]
        if unknown:
            raise Invalid(f"no backend is called {unknown[0]}")
        try:
            exact = split.weights({name: split.term(weight) for name, weight in weights.items()})
        except BadValue as error:
            raise Invalid(f"the split {error.message}") from None
        return {name: weight for name, weight in exact.items() if weight}

    async def command(
        self,
        route: str,
        verb: Verb,
        actor: str,
        now: float,
        reason: str = "",
        challenger: str | None = None,
    ) -> RolloutView:
        """An operator's verb. What raises exposure is refused while it cannot be written, or nobody is up.

        `challenger`: whose rollout, where there are several on the route.
        """
        async with self.turn:
            self.state.now = now
            live, state = self.state.route(route), self.state.rollout(route, challenger).state
            cause = Cause(actor, reason or f"{verb} by {actor}", now, self.state.config.hash)
            known = self.state.durations(route, state.champion)
            try:
                change = change_by_event(live, state.challenger, Event(verb), cause, known)
            except NotAllowedError as error:
                raise Refused(str(error)) from None
            if change is not None:
                await self.apply_command(change)
            return self.views.rollout(route, now, state.challenger)

    async def apply_command(self, change: Change) -> None:
        if change.rises and not self.state.is_ready(change.challenger):
            raise Refused(f"{change.challenger} has no endpoint that is up")
        if not await self.enact([change]):
            raise Refused(f"exposure does not rise while the state cannot be written: {self.journal.error}")
