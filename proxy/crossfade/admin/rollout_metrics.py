"""Metrics of the rollouts and their decisions. Labels name the challenger, as a route may have several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import Metric

from crossfade.admin.families import Labels, counter, gauge, histogram
from crossfade.control.views import MetricsView, RolloutView
from crossfade.rollout.machine import Phase
from crossfade.rollout.recommendation import Advice
from crossfade.rollout.verdict import Verdict

# Decisions of a route that exist at 0 from the start, so that `increase()` shows the first one.
ACTIONS = (
    "start",
    "begin",
    "advance",
    "pause",
    "resume",
    "promote",
    "abort",
    "rollback",
    "retry",
    "restart",
    "watch_ended",
    "split",
)
_ROLLOUT, _CHECK = ["route", "challenger"], ["route", "challenger", "check"]


def of_rollouts(rollouts: list[RolloutView]) -> Iterator[Metric]:
    named = [((r.route, r.challenger), r) for r in rollouts]
    yield gauge(
        "crossfade_rollout_phase",
        "1 for the phase that the rollout is in.",
        [*_ROLLOUT, "phase"],
        [((*labels, phase), phase == r.phase) for labels, r in named for phase in Phase],
    )
    yield gauge(
        "crossfade_rollout_step",
        "The step that the rollout is in, from 0.",
        _ROLLOUT,
        [(labels, r.step) for labels, r in named],
    )
    yield gauge(
        "crossfade_rollout_step_age_seconds",
        "Seconds served since the step or the phase began.",
        _ROLLOUT,
        [(labels, r.elapsed) for labels, r in named],
    )
    yield gauge(
        "crossfade_rollout_hold_left_seconds",
        "Seconds that the present step must still be held; 0 when it is over, or no step is under way.",
        _ROLLOUT,
        [(labels, _hold_left(r)) for labels, r in named],
    )
    yield gauge(
        "crossfade_rollout_no_way_back",
        "1 while a rollout that should end does not, because the champion is down.",
        _ROLLOUT,
        [(labels, r.no_way_back) for labels, r in named],
    )
    yield from _of_recommendations(rollouts)
    yield from _of_checks(rollouts)


def _hold_left(rollout: RolloutView) -> float:
    if rollout.phase not in (Phase.PROGRESSING, Phase.PAUSED):
        return 0.0
    return max(rollout.steps[rollout.step].hold - rollout.elapsed, 0.0)


def _of_recommendations(rollouts: list[RolloutView]) -> Iterator[Metric]:
    said = [((r.route, r.challenger), r.recommendation) for r in rollouts if r.recommendation is not None]
    yield gauge(
        "crossfade_recommendation",
        "1 for what is recommended, where the rollout names a number to go by.",
        [*_ROLLOUT, "recommendation"],
        [((*labels, advice), advice == view.recommendation) for labels, view in said for advice in Advice],
    )
    yield gauge(
        "crossfade_lift",
        "The relative gain by the number that the recommendation goes by; positive where the challenger is better.",
        _ROLLOUT,
        [(labels, view.lift) for labels, view in said if view.lift is not None],
    )


def _of_checks(rollouts: list[RolloutView]) -> Iterator[Metric]:
    checks = [((r.route, r.challenger, v.check), v) for r in rollouts for v in r.verdicts]
    yield gauge(
        "crossfade_check_verdict",
        "1 for the present verdict of the check.",
        [*_CHECK, "verdict"],
        [((*labels, verdict), verdict == v.verdict) for labels, v in checks for verdict in Verdict],
    )
    yield gauge(
        "crossfade_check_evidence",
        "Evidence against the challenger (log e-value); the check FAILs when it reaches the bound.",
        _CHECK,
        [(labels, v.evidence) for labels, v in checks if v.evidence is not None],
    )
    yield gauge(
        "crossfade_check_bound",
        "The evidence at which the check FAILs.",
        _CHECK,
        [(labels, v.bound) for labels, v in checks if v.bound is not None],
    )
    yield gauge(
        "crossfade_check_eta_requests",
        "Requests on the challenger until a verdict, at the present rates; absent where it cannot be told.",
        _CHECK,
        [(labels, v.eta_requests) for labels, v in checks if v.eta_requests is not None],
    )


def of_decisions(view: MetricsView) -> Iterator[Metric]:
    yield histogram(
        "crossfade_decision_to_traffic_seconds",
        "Seconds from a decision until every worker serves by it, with the write to disk if that comes first.",
        [],
        [((), view.decision_to_traffic)],
        view.buckets,
    )
    decided = Counter[Labels]({(s.route, action): 0 for s in view.splits for action in ACTIONS})
    decided.update(view.decisions)
    yield counter("crossfade_decisions", "Decisions in the journal.", ["route", "action"], decided.items())
    yield counter(
        "crossfade_notifications",
        "Messages to receivers of `notify`, by what became of them; retried: attempts that did not succeed.",
        ["outcome"],
        [((outcome,), n) for outcome, n in view.messages.items()],
    )
    yield gauge(
        "crossfade_notifications_waiting",
        "Messages that wait to be taken by their receivers.",
        [],
        [((), view.messages_waiting)],
    )
    yield counter(
        "crossfade_retrain",
        "Orders to train the model of a route again: ordered, retried attempts, how they ended, and occasions suppressed meanwhile.",
        ["route", "outcome"],
        view.retrains.items(),
    )
