"""The controller: one process decides for all routes, and `tick` is how, from top to bottom.

Rule (law 3): where a challenger's exposure rises, the decision is on disk before the snapshot that
raises it is published; where it falls, the snapshot goes first. A tick waits for nothing: not for a
worker, not for the disk. Operators' commands are events to the same machine. A route is locked while its
next state is being written, and only then; a tick passes over it, so a slow disk delays no other route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from crossfade.config.load import Loaded
from crossfade.control.advising import Advising
from crossfade.control.background import Background
from crossfade.control.change import LOOP, Cause, Change, change_by_event, change_of_split, draft_of
from crossfade.control.config_history import ConfigHistory
from crossfade.control.controller_state import ControllerState
from crossfade.control.disk_thread import CLOSE_WAIT
from crossfade.control.draining import NO_ROUTE, Drains, forgotten
from crossfade.control.drift import Drift, DriftAlarm
from crossfade.control.drift_files import drift_folder
from crossfade.control.ejecting import EndpointHealth
from crossfade.control.feedback_intake import FeedbackIntake
from crossfade.control.history import History
from crossfade.control.journal import Journal
from crossfade.control.journal_entry import Entry
from crossfade.control.kept_comparisons import KeptComparisons
from crossfade.control.loading import Reconciled
from crossfade.control.notifications import Notifications
from crossfade.control.prediction_logs import PredictionLogs, folder_of
from crossfade.control.prediction_writer import PredictionWriter
from crossfade.control.publisher import Publisher
from crossfade.control.receivers import allowed, home_down, prepared_load
from crossfade.control.recovery import recover, undone
from crossfade.control.refusal import Refused
from crossfade.control.retraining import Retrainings
from crossfade.control.ripening import Ripening
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.saving import Saving
from crossfade.control.seam import Seam, loop_lag
from crossfade.control.seen import Meant, Seen, require
from crossfade.control.served_clock import advance
from crossfade.control.split_request import requested_weights
from crossfade.control.store import Endpoints, Store
from crossfade.control.subscription import Feed
from crossfade.control.viewing import Views
from crossfade.control.views import RolloutView, RouteView, StatusChange, Verb
from crossfade.rollout.external import Reading
from crossfade.rollout.machine import Event, NotAllowedError
from crossfade.rollout.move import Move

T = TypeVar("T")

WHICHEVER = Meant()


class Controller:
    """`now` is wall time, which is only written down. Decisions are made by served time (law 14), whose clock goes
    forward by `monotonic`. `views` is the read side. `history` is set by what works beside the loop.
    """

    history: History

    def __init__(self, store: Store, seam: Seam, monotonic: Callable[[], float] = monotonic) -> None:
        self.journal = Journal(store)
        self.configs = ConfigHistory(store)
        unclaimed = recover(self.journal)
        # The clock is read behind the spool, which has served times too.
        self.state = ControllerState(store.clock(), unclaimed, store.cookie_secret, store.drained())
        self.monotonic = monotonic
        self.feed = Feed()
        self.retrain = Retrainings(self.state, self.journal, self.feed.tell)
        self.logs = PredictionLogs(folder_of(store.name))
        self.prediction_writer = PredictionWriter(self.logs)
        self.feedback = FeedbackIntake(self.state, self.logs)
        self.views = Views(
            self.state, self.journal, seam, self.retrain, self.feedback, self.prediction_writer
        )
        self.drift = Drift(self.state, seam.drift, self.feed, drift_folder(store.name), self.logs)
        self.drift.on_alarm.append(self._retrain_on)
        self.drift.on_lasting.append(self._retrain_on)
        self.views.drift = self.drift
        self.notify = self.views.notifications = Notifications(self.state, self.journal)
        self.feed.on_event.append(self.notify.hear)
        self.seam = seam
        self.advising = Advising(self.state, self.feed)
        self.publisher = Publisher(self.state, seam)
        self.health = EndpointHealth(self.state, self.publisher, self.feed)
        self.readings: Callable[[float], Mapping[str, Reading]] = lambda now: {}  # of `prometheus` checks
        self.kept_comparisons = KeptComparisons(seam.comparisons, self.journal)
        self.saving = Saving(self.state, self.journal, self.feed, self._cause, self.feed.tell)
        self._loading = asyncio.Lock()
        self._background = Background()
        self.ripening = Ripening(self.state, self.logs, self._background)
        self.prediction_writer.fed_to = self.ripening.fed_to
        self.drains = Drains(
            self.state, self.journal, self.publisher, self.health, self.feed, self._loading, self.feed.tell
        )
        self._closed = False

    # ── the health loop ───────────────────────────────────────────────────────────────────────

    def tick(self, now: float) -> None:
        """Counts → totals, window, evidence → fuse, checks, verdicts → event → machine → decisions → acts."""
        served = self.read_clock(now)
        counts = self.seam.take()
        self.prediction_writer.take(self.seam.take_logged(), now)
        self.state.count(counts)
        self.state.take_readings(self.readings(served), loop_lag(self.seam.workers()))
        self.state.gather(counts)
        self.ripening.look()
        for silent, text in self.state.mirror_watch.look(self.state.routes.values(), counts, served):
            self.feed.warn(now, "mirror", text, silent)
        self.advising.look(now)
        self.drift.look(now)
        self.health.look(now)
        changes = [change for route in self.state.unlocked() for change in self._decide(route)]
        self._apply_decrease([change for change in changes if not change.rises])
        for change in changes:
            if change.rises:
                self._background.spawn(self._increase(change.route))
        if self.publisher.has_other_limits:
            self.publisher.publish()
        self.saving.save_from_time_to_time()
        self.retrain.look()
        self.notify.look()
        self.kept_comparisons.save_from_time_to_time(self.state.served)
        self.feedback.look()
        self.journal.prune(self.state.wall, self.state.config.config.journal.keep)
        self.saving.report(now)

    def read_clock(self, now: float) -> float:
        """The served time now. A gap, which is time that did not count, is reported."""
        state = self.state
        state.clock, gap = advance(state.clock, now, self.monotonic())
        if gap is not None:
            state.gap = gap
            self.feed.warn(now, "clock", str(gap))
        return state.served

    def _retrain_on(self, found: DriftAlarm) -> None:
        self.retrain.trigger(found.route, found.alarm.kind, msgspec.to_builtins(found.alarm))

    def _decide(self, route: RouteRuntime) -> list[Change]:
        """The loop's change of this route: one at a time, a decrease of exposure first."""
        found = []
        for name, rollout in route.rollouts.items():
            move = self._next_move(route, name)
            if move.event is not None:
                cause = self._cause(LOOP, move.reason)
                so_far = self.state.so_far(route.name, rollout.state.champion)
                found.append(change_by_event(route, name, move.event, cause, so_far))
        return sorted(filter(None, found), key=lambda change: change.rises)[:1]

    def _apply_decrease(self, changes: Sequence[Change]) -> None:
        """The snapshot goes out first; the journal is written behind it."""
        if not changes:
            return
        decided = monotonic()
        before = [c.route.published_parts for c in changes]
        self._commit_state(changes)
        if before != [c.route.published_parts for c in changes]:
            self.publisher.publish(decided)
        self.journal.write([change.entry for change in changes], self.feed.tell)

    async def _increase(self, route: RouteRuntime) -> None:
        """Decides again once it has the lock, as a command or a load may have come first."""
        async with route.lock:
            if self.state.routes.get(route.name) is route:
                for change in self._decide(route):
                    if change.rises:
                        await self._apply_increase(change)

    async def _apply_increase(self, change: Change) -> bool:
        """The disk first. False when the decision cannot be written: then it is not made. Needs the route's lock."""
        decided = monotonic()
        decisions = await self.journal.write_first([change.entry], [undone(change)])
        if decisions is None:
            if change.challenger:
                rollout = change.route.rollouts[change.challenger]
                rollout.waiting_for = f"the state to be writable: {self.journal.error}"
            return False
        self._commit_state([change])
        self.publisher.publish(decided)
        self.feed.tell(decisions)
        return True

    def _cause(self, actor: str, reason: str) -> Cause:
        """At the time at which the clock was last read."""
        state = self.state
        config = state.config
        return Cause(actor, reason, state.served, config.hash, state.wall, config.config.backends)

    def _commit_state(self, changes: Sequence[Change]) -> None:
        for change in changes:
            change.route.update(change.route.config, change.record, change.evidence)
            self.prediction_writer.note(change.route.name, change.record.ledger)
            self._update_waiting(change.route)
        self.kept_comparisons.expect([change.route for change in changes], self.state.wall)

    def _update_waiting(self, route: RouteRuntime) -> None:
        """Find what each rollout waits for now, not only at the next tick."""
        for name in route.rollouts:
            self._next_move(route, name)

    def _next_move(self, route: RouteRuntime, challenger: str) -> Move:
        state = self.state
        nowhere = home_down(state, route.record, challenger)
        return route.rollouts[challenger].next_move(state.is_ready(challenger), nowhere, state.served)

    async def record(self, route: str, action: str, to: dict[str, str], reason: str) -> bool:
        """A decision that changes no traffic and is apart (`pruning.is_apart`). False if it cannot be written."""
        draft = draft_of(route, action, self._cause(LOOP, reason), (None, None), {})
        draft.to.update(to)
        decisions = await self.journal.write_first([Entry(draft, None, is_apart=True)])
        self.feed.tell(decisions or [])
        return decisions is not None

    async def idle(self) -> None:
        """Returns when nothing is being decided or written."""
        await self._background.idle()
        await self.drains.idle()
        await self.retrain.idle()
        await self.notify.idle()
        await self.feedback.idle()
        await self.drift.idle()
        await self.journal.idle()
        await self.prediction_writer.idle()

    async def close(self) -> bool:
        """Finish what is being written, and save the evidence. Call it before the store's `close`; once more does nothing.

        False if a prediction log is still being written, as the disk hangs.
        """
        if self._closed:
            return True
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WAIT):
                await self._background.idle()
                await self.drains.idle()
                await self.retrain.idle()
                await self.feedback.idle()
                await self.notify.save()
        self.kept_comparisons.save()
        self.prediction_writer.take(self.seam.take_logged(), self.state.wall)
        await self.drift.close()
        await self.journal.close(self.saving.evidence(), self.state.clock)
        return await self.prediction_writer.close(self.state.wall)

    # ── configuration, endpoints, operators ───────────────────────────────────────────────────

    async def load(
        self, loaded: Loaded, actor: str, now: float, force: bool = False, differs: bool = False
    ) -> None:
        """Start, or reload. `differs`: from the file.

        Raises Refused when what follows from it cannot be written, or sends traffic to a backend that is down and
        nobody forces it (law 15); then nothing has changed.
        """
        await self._uncancelled(self._load(loaded, actor, now, force, differs))

    async def _load(self, loaded: Loaded, actor: str, now: float, force: bool, differs: bool) -> None:
        async with AsyncExitStack() as locks:
            await locks.enter_async_context(self._loading)
            for route in self.state.routes.values():
                await locks.enter_async_context(route.lock)
            cause = Cause(actor, "", self.read_clock(now), loaded.hash, now, loaded.config.backends)
            prepared = prepared_load(self.state, loaded, cause, force, loaded.source)
            entries = prepared.entries + forgotten(self.state.drained, loaded.config, cause)
            decisions = await self.journal.write_first(entries) if entries else []
            if decisions is None:
                raise Refused(f"the configuration is not loaded: {self.journal.error}")
            self.state.last_changes = prepared.changes
            self._accept(loaded, prepared.reconciled, now)
            self.publisher.publish()
            self.feed.tell(decisions)
            self.state.differs_from_file = differs
            said = f"loaded by {actor}" + ("; it differs from the file" if differs else "")
            self.feed.publish(StatusChange(now, "config", None, said))

    async def _uncancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """A caller that is cancelled leaves the work to end: half of it would leave the journal ahead of the state."""
        return await asyncio.shield(self._background.task(work))

    def _accept(self, loaded: Loaded, reconciled: Reconciled, now: float) -> None:
        """Use the configuration from now on."""
        self.state.accept(loaded, reconciled, now)
        self.kept_comparisons.expect(self.state.routes.values(), now)
        kept = self.state.forget_gone()
        self.seam.observations.keep(kept.routes)
        self.seam.comparisons.keep(kept.routes)
        self.journal.keep_counts(kept.routes | {NO_ROUTE})
        self.retrain.accept(loaded.config)
        self.notify.accept(loaded.config)
        self.prediction_writer.use(loaded.config.routes, reconciled.came_from)
        self.drift.accept()
        for route in self.state.routes.values():
            self.prediction_writer.note(route.name, route.record.ledger)
            self._update_waiting(route)

    def refuse_config(self, error: str) -> None:
        """A reload failed: the configuration stays, and status has the error."""
        self.state.config_ok, self.state.last_reload_error = False, error
        self.feed.publish(StatusChange(self.state.wall, "config", None, error, ok=False))

    def renew(self, stamps: Mapping[str, str], error: str) -> None:
        """The TLS files hold other things: workers read them. `error`: of a renewal before, which this one mends."""
        self.state.renew(stamps, error)
        self.publisher.publish()
        self.feed.publish(StatusChange(self.state.wall, "config", None, "TLS files renewed"))

    def endpoints_changed(self, down: Endpoints, now: float, seen_up: Endpoints | None = None) -> None:
        """`down`: endpoints that fail their probes; `seen_up`: those that passed one at least once."""
        self.read_clock(now)
        self.health.probed(down, now, seen_up)

    async def set_split(
        self,
        route: str,
        weights: Mapping[str, float],
        actor: str,
        now: float,
        force: bool = False,
        seen: Seen = None,
    ) -> RouteView:
        """Plain weights in any unit. Returns when every worker has the new ledger.

        `force`: also to a backend that is down (law 15).
        """
        view = await self._uncancelled(self._set_split(route, weights, actor, now, force, seen))
        await self.publisher.served()
        return view

    async def _set_split(
        self, name: str, weights: Mapping[str, float], actor: str, now: float, force: bool, seen: Seen
    ) -> RouteView:
        async with self.state.route(name).lock:
            route = self.state.route(name)  # again: a load may have come first
            require(seen, self.views.tag(name), f"route {name}")
            for rollout in route.record.rollouts.values():
                if rollout.is_running:
                    raise Refused(f"a rollout is {rollout.phase} on {name}; abort it, or let it end")
            wanted = requested_weights(weights, route.record.ledger, self.state.config.config)
            if wanted != {name: weight for name, weight in route.record.ledger.weights.items() if weight}:
                self.read_clock(now)
                cause = self._cause(actor, "a new split")
                change = allowed(self.state, change_of_split(route, wanted, cause), force)
                if not await self._apply_increase(change):
                    raise Refused(f"the split stays as it is: {self.journal.error}")
            return self.views.route(name)

    async def command(
        self,
        route: str,
        verb: Verb,
        actor: str,
        now: float,
        reason: str = "",
        meant: Meant = WHICHEVER,
        force: bool = False,
    ) -> RolloutView:
        """An operator's verb. Returns when every worker serves from what follows.

        What raises exposure is refused while it cannot be written. What sends traffic to a backend that is down is
        refused without `force` (law 15).
        """
        self.read_clock(now)
        cause = self._cause(actor, reason or f"{verb} by {actor}")
        view = await self._uncancelled(self._command(route, Event(verb), cause, meant, force))
        await self.publisher.served()
        return replace(view, not_durable=await self.journal.settled())

    async def _command(self, name: str, event: Event, cause: Cause, meant: Meant, force: bool) -> RolloutView:
        async with self.state.route(name).lock:
            route, rollout = self.state.route(name), self.state.rollout(name, meant.challenger).state
            require(meant.seen, self.views.tag(name), f"route {name}")
            so_far = self.state.so_far(name, rollout.champion)
            try:
                change = change_by_event(route, rollout.challenger, event, cause, so_far)
            except NotAllowedError as error:
                raise Refused(str(error)) from None
            if change is not None:
                await self._apply_command(allowed(self.state, change, force))
            return self.views.rollout(name, cause.at, rollout.challenger)

    async def _apply_command(self, change: Change) -> None:
        if not change.rises:
            self._apply_decrease([change])
        elif not await self._apply_increase(change):
            raise Refused(f"exposure does not rise while the state cannot be written: {self.journal.error}")
