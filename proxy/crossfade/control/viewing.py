"""The read side of the controller: views, built on demand from its state. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Sequence

from crossfade.config.load import Loaded
from crossfade.config.model import BackendConfig
from crossfade.config.problem import Problem
from crossfade.control.advising import recommendation_view
from crossfade.control.change import Cause
from crossfade.control.compared_subject import chosen, copy_of, subject_of
from crossfade.control.config_views import ConfigView, LoadedChange, LoadPreview
from crossfade.control.controller_state import ControllerState
from crossfade.control.disagreement import disagreements, restart_needed
from crossfade.control.draining import found_endpoint, left_in_flight
from crossfade.control.drift import Drift
from crossfade.control.drift_view import drift_numbers
from crossfade.control.feedback_intake import FeedbackIntake
from crossfade.control.journal import Journal
from crossfade.control.migrations import VERSION
from crossfade.control.notifications import Notifications
from crossfade.control.pages import Record
from crossfade.control.prediction_writer import PredictionWriter
from crossfade.control.receivers import prepared_load
from crossfade.control.refusal import Refused, UnknownName
from crossfade.control.retraining import Retrainings
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.route_edit import EDIT
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.route_viewing import RouteNumbers, route_view, split_view
from crossfade.control.seam import Seam, WorkerStatus, sum_of_queues
from crossfade.control.seen import tag_of_config, tag_of_route
from crossfade.control.served_clock import MIN_GAP, Gap
from crossfade.control.verdict_views import verdict_views, would_change
from crossfade.control.views import (
    BackendView,
    Decision,
    EndpointView,
    MetricsView,
    RolloutView,
    RouteView,
    StatusView,
    StepView,
    TrafficView,
    WhyView,
)
from crossfade.quality.comparison_summary import Subject
from crossfade.quality.table import ComparisonTable
from crossfade.rollout.faults import where
from crossfade.rollout.machine import Event, Phase, RolloutState, Step, active_step
from crossfade.rollout.verdict import duration
from crossfade.scale import LATENCY_TARGETS, WHOLE

NO_ROLLOUT = "another split: by the file, or by `crossfade split`"  # what changes a route without a rollout


class Views:
    """Each method raises UnknownName for names that are not there."""

    drift: Drift
    notifications: Notifications

    def __init__(
        self,
        state: ControllerState,
        journal: Journal,
        seam: Seam,
        retrainings: Retrainings,
        feedback: FeedbackIntake,
        writer: PredictionWriter,
    ) -> None:
        self.state = state
        self.journal = journal
        self.retrainings = retrainings
        self.seam = seam
        self.feedback = feedback
        self.writer = writer

    def status(self, now: float) -> StatusView:
        return StatusView(
            version=VERSION,
            uptime=self.state.served - self.state.started,
            generation=self.state.generation,
            config=self.config(),
            workers=self.seam.workers(),
            routes=self.routes(),
            rollouts=self.rollouts(now),
            backends=self.backends(),
            store_ok=self.store_ok,
            gap=str(self.state.gap or ""),
            store_error=self.journal.error,
            silent_mirrors=list(self.state.mirror_watch.silent.values()),
            retrain=self.retrainings.views(),
        )

    def metrics(self, now: float) -> MetricsView:
        state, totals = self.state, self.state.totals
        return MetricsView(
            version=VERSION,
            config=self.config(),
            store_ok=self.store_ok,
            workers=self.seam.workers(),
            traffic=TrafficView(
                totals.cells.values(),
                totals.mirrors,
                totals.refused,
                totals.dropped,
                totals.ejections,
                totals.unread,
                totals.cache,
                self.seam.observations.received,
                dict(totals.exemplars),
            ),
            splits=[split_view(route) for route in state.routes.values()],
            differing={name: len(disagreements(r.config, r.record)) for name, r in state.routes.items()},
            backends=self.backends(),
            max_in_flight={name: b.max_in_flight for name, b in state.config.config.backends.items()},
            latency_targets={
                name: LATENCY_TARGETS[r.config.slo]
                for name, r in state.routes.items()
                if r.config.slo is not None
            },
            queues=sum_of_queues(worker.queues for worker in self.seam.workers()),
            rollouts=self.rollouts(now),
            decisions=self.journal.decided,
            decision_to_traffic=state.decision_to_traffic,
            buckets=state.config.config.metrics.buckets,
            silent_mirrors={
                target: target in state.mirror_watch.silent for target in state.mirror_watch.silences
            },
            retrains=self.retrainings.counts(),
            messages=self.notifications.counts(),
            messages_waiting=sum(1 for _ in self.notifications.all_waiting()),
            feedback=self.feedback.counts,
            feedback_delays=self.feedback.delays,
            prediction_logs=self.writer.view(),
            drift=drift_numbers(self.drift.routes),
        )

    @property
    def store_ok(self) -> bool:
        return self.journal.ok

    def config(self) -> ConfigView:
        state = self.state
        source, digest = state.config.source, state.config.hash
        started_with = state.started_with or state.config.config
        return ConfigView(
            source,
            digest,
            state.config_ok,
            state.last_reload_error,
            state.last_reload_at,
            restart_needed(started_with, state.config.config),
            state.differs_from_file,
        )

    def preview(self, loaded: Loaded, actor: str, now: float) -> LoadPreview:
        """What a load of this configuration would do now. Nothing is changed."""
        state = self.state
        cause = Cause(actor, "", state.served, loaded.hash, now, loaded.config.backends)
        keys = restart_needed(state.started_with or loaded.config, loaded.config)
        try:
            prepared = prepared_load(state, loaded, cause, force=False)
        except Refused as error:
            return LoadPreview([], str(error), keys)
        return LoadPreview(prepared.changes, "", keys)

    def last_changes(self) -> list[LoadedChange]:
        """What the last load did."""
        return self.state.last_changes

    def config_warnings(self) -> tuple[Problem, ...]:
        return self.state.config.warnings

    def routes(self) -> list[RouteView]:
        numbers = self._numbers()
        return [self._route(route, numbers) for route in self.state.routes.values()]

    def route(self, name: str) -> RouteView:
        return self._route(self.state.route(name), self._numbers())

    def _route(self, route: RouteRuntime, numbers: RouteNumbers) -> RouteView:
        view = route_view(route, numbers)
        view.compared = [found.challenger for found in self.seam.comparisons.of(route.name)]
        return view

    def tag(self, route: str) -> str:
        """Of the state that commands to it act on."""
        return tag_of_route(self.state.route(route).record, self.state.config.hash)

    def config_tag(self) -> str:
        return tag_of_config(self.state.config.hash, self.state.last_reload_at)

    def _numbers(self) -> RouteNumbers:
        state = self.state
        return RouteNumbers(
            state.totals, state.window.table(state.served), state.window.seconds(state.served)
        )

    def backends(self) -> list[BackendView]:
        return [self.backend(name) for name in self.state.config.config.backends]

    def backend(self, name: str) -> BackendView:
        config = self.state.config.config.backends.get(name)
        if config is None:
            raise UnknownName(f"no backend is called {name}")
        return _backend_view(name, config, self.state, self.seam.workers(), self.seam.leaving_workers())

    def endpoint(self, backend: str, endpoint: str) -> EndpointView:
        """By its name or URL."""
        of, view = found_endpoint(self.state.config.config, backend, endpoint), self.backend(backend)
        return next(e for e in view.endpoints if e.url == of.url)

    def rollouts(self, now: float, route: str | None = None) -> list[RolloutView]:
        """All, or those of one route."""
        found = self.state.rollouts()
        if route is not None:
            at = self.state.route(route)
            found = [(at, rollout) for rollout in at.rollouts.values()]
        return [_rollout_view(at, rollout, now, self.state) for at, rollout in found]

    def rollout(self, route: str, now: float, challenger: str | None = None) -> RolloutView:
        """Raises Refused when there are several and no challenger is named."""
        return _rollout_view(self.state.route(route), self.state.rollout(route, challenger), now, self.state)

    async def why(self, route: str, challenger: str | None = None) -> WhyView:
        if not self.state.route(route).rollouts and challenger is None:
            return WhyView(route, await self.journal.last(route), None, [NO_ROLLOUT], [])
        rollout = self.state.rollout(route, challenger)
        decision = await self._why(route, rollout)
        silent = self.state.mirror_watch.silent.get((route, rollout.challenger), "")
        verdicts, changes = verdict_views(rollout, silent), would_change(rollout)
        now = _now_text(rollout, self.state.served)
        said = recommendation_view(rollout, self.state.served, _horizon(self.state.route(route)))
        return WhyView(route, decision, str(rollout.state.phase), changes, verdicts, now, said)

    async def _why(self, route: str, rollout: RolloutRuntime) -> Decision | None:
        """The latest decision; of an ended attempt that which ended it, whatever was edited since."""
        ended = {Phase.ABORTED: Event.ABORT, Phase.ROLLED_BACK: Event.ROLLBACK}.get(rollout.state.phase)
        last = await self.journal.last(route, rollout.challenger)
        if ended is None or last is None or last.action != EDIT:
            return last
        return await self.journal.last(route, rollout.challenger, ended) or last

    def comparison(self, route: str, challenger: str | None = None) -> tuple[ComparisonTable, Subject]:
        """A copy of the table. Raises Refused when there are several and no challenger is named."""
        at = self.state.route(route)
        found = chosen(route, self.seam.comparisons.of(route), challenger)
        rollout = at.rollouts.get(found.challenger)
        checks = () if rollout is None else rollout.plan.checks
        return copy_of(found.table), subject_of(found, at.config, checks)

    async def page(
        self, route: str | None, after: int | None, limit: int, brief: bool = False
    ) -> list[Record]:
        """Decisions as they are stored: in order, those above `after`, or the last ones; fewer where they are large."""
        return await self.journal.page(route, after, limit, brief)


def _backend_view(
    name: str,
    config: BackendConfig,
    state: ControllerState,
    workers: Sequence[WorkerStatus],
    leaving: Sequence[WorkerStatus],
) -> BackendView:
    serving = state.serving_endpoints(name)
    up = [worker for worker in workers if worker.up]
    endpoints = [
        EndpointView(
            e.url,
            (name, e.name) not in state.down,
            state.ejected_of(name, e.name),
            e.weight,
            (name, e.name) in state.drained,
            None if e.name in serving else left_in_flight(name, e.name, (*up, *leaving)),
        )
        for e in config.endpoints
    ]
    in_flight = sum(worker.in_flight.get(name, 0) for worker in up)
    queued = sum(worker.queues[name].length for worker in up if name in worker.queues)
    return BackendView(name, endpoints, in_flight, config.version, state.in_panic(name), queued)


def _rollout_view(
    route: RouteRuntime, rollout: RolloutRuntime, now: float, at: ControllerState
) -> RolloutView:
    state = rollout.state
    elapsed = at.served - state.since
    return RolloutView(
        route=route.name,
        strategy=state.strategy,
        champion=state.champion,
        challenger=state.challenger,
        phase=str(state.phase),
        step=state.step,
        steps=[_step_view(step) for step in state.steps],
        weight=route.record.ledger.weights.get(state.challenger, 0) / WHOLE,
        since=state.since_at,
        elapsed=elapsed,
        waiting_for=rollout.waiting_for + _uncounted_text(state, now - state.since_at - elapsed, at.gap),
        no_way_back=state.no_way_back,
        watched=state.phase is Phase.PROMOTED and state.watch_until is not None,
        verdicts=verdict_views(rollout, at.mirror_watch.silent.get((route.name, state.challenger), "")),
        recommendation=recommendation_view(rollout, at.served, _horizon(route)),
    )


def _horizon(route: RouteRuntime) -> float:
    return route.config.feedback.horizon if route.config.feedback else 0.0


def _step_view(step: Step) -> StepView:
    shares = step.weight / WHOLE, step.mirror / WHOLE
    then = step.approval_within, step.approval_then
    return StepView(shares[0], step.hold, step.approval, shares[1], *then, step.gate)


def _uncounted_text(state: RolloutState, seconds: float, gap: Gap | None) -> str:
    """Why a step or a watch lasts longer than by the wall clock. `seconds`: by which wall time since then is more."""
    if not state.is_guarded or seconds <= MIN_GAP:
        return ""
    cause = f": {gap.cause}" if gap is not None and gap.seconds > 0 and gap.served >= state.since else ""
    return f"; {duration(seconds)} did not count{cause}"


def _now_text(rollout: RolloutRuntime, served: float) -> str:
    """As `in step 2 of 4 for 2h 5m`."""
    state = rollout.state
    step = active_step(state) if state.is_guarded else None
    place = "" if step is None else f"{where(step, len(state.steps))} "
    return f"{place}for {duration(served - state.since)}"
