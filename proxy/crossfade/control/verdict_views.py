"""What is shown of the checks of a rollout: a verdict with what it is compared with, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.views import VerdictView
from crossfade.rollout.evidence import requests_not_abandoned
from crossfade.rollout.faults import evidence_in_words
from crossfade.rollout.machine import RolloutState
from crossfade.rollout.pending import Pending
from crossfade.rollout.plan import OF_COPIES, Check, Plan
from crossfade.rollout.strategy import unit_of
from crossfade.rollout.verdict import Finding, Verdict, duration, once_ended, percent
from crossfade.stats.counts import SHADOW

_OF_REQUESTS = ("error_rate", "rejected", "unreadable", "latency", "requests")  # metrics of live answers


def verdict_views(rollout: RolloutRuntime, silent: str) -> list[VerdictView]:
    """`silent`: why the challenger's mirror is; checks of copies have it in their reason. Once the rollout has ended, nothing is to go, and reasons say what was so."""
    asked = {check.title: check for check in rollout.plan.checks}
    found = [_verdict_view(v, asked.get(v.check)) for v in rollout.verdicts]
    if not rollout.state.is_guarded:
        uncounted = _uncounted_text(rollout.evidence.pending, rollout.challenger)
        for view in found:
            view.eta_requests, view.reason = None, once_ended(view.reason)
            if view.check in asked and asked[view.check].metric in _OF_REQUESTS:
                view.reason += uncounted
    for view in found if silent else []:
        if any(metric in view.check for metric in OF_COPIES):
            view.reason = f"{view.reason}; {silent}"
    return found


def _verdict_view(finding: Finding, check: Check | None) -> VerdictView:
    """`check`: None for a finding of the guard or the fuse."""
    view = VerdictView(**msgspec.structs.asdict(finding), in_words=_in_words(finding))
    if check is not None:
        view.limit, view.unit, view.is_least = check.limit, unit_of(check), check.is_least
    return view


def _uncounted_text(pending: Sequence[Pending], challenger: str) -> str:
    """What an end by the fuse leaves: answers count when the champion has answered what came in the same second, and that came too late."""
    cells = [item.cell for item in pending if item.cell.backend == challenger and item.cell.role != SHADOW]
    requests = sum(map(requests_not_abandoned, cells))
    if not requests:
        return ""
    errors = sum(cell.errors for cell in cells)
    return f"; not counted: {requests} more of {challenger}, {errors} with an error, as it ended before the champion's answers of the same second"


def _in_words(finding: Finding) -> str:
    if finding.evidence is None or finding.bound is None:
        return ""
    return evidence_in_words(finding.evidence, finding.bound)


def would_change(rollout: RolloutRuntime) -> list[str]:
    """One sentence for each condition that would lead to another decision, the nearest first."""
    plan, state = rollout.plan, rollout.state
    out = [f"it waits for {rollout.waiting_for}"] if rollout.waiting_for else []
    if not state.is_guarded:
        return out
    for v in rollout.verdicts:
        if v.verdict is Verdict.UNDECIDED and v.eta_requests:
            out.append(f"{v.check}: about {v.eta_requests} more requests on {plan.challenger} decide it")
        elif v.evidence is not None and v.bound is not None and v.verdict is not Verdict.FAIL:
            out.append(f"{v.check}: {evidence_in_words(v.evidence, v.bound)}")
    return out + _limits_of(plan, state)


def _limits_of(plan: Plan, state: RolloutState) -> list[str]:
    """What ends a step without evidence: the fuse, and max_step_time."""
    out = []
    if plan.fuse is not None:
        share = f"{percent(plan.fuse.error_share)} of the last {plan.fuse.of_last}"
        out.append(f"the fuse: {plan.fuse.consecutive_errors} errors in a row, or {share}, end it at once")
    if plan.max_step_time is not None and state.is_running:
        out.append(
            f"max_step_time: after {duration(plan.max_step_time)} undecided it will {plan.on_undecided}"
        )
    return out
