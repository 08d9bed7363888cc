"""What is recommended for each rollout: as a view, and as a change when it becomes another one."""

from __future__ import annotations

import logging

from crossfade.control.controller_state import ControllerState
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.subscription import Feed
from crossfade.control.views import RecommendationView, StatusChange
from crossfade.rollout.recommendation import Advice, Lift

log = logging.getLogger("crossfade.control")

EVERY = 10.0  # seconds between two looks at what is recommended; each costs some milliseconds


class Advising:
    """Tells when a recommendation changes. After a start it tells what is recommended again, unless it is UNDECIDED."""

    def __init__(self, state: ControllerState, feed: Feed) -> None:
        self.state = state
        self.feed = feed
        self.told: dict[tuple[str, str], Advice] = {}
        self.looked_at = float("-inf")

    def look(self, now: float) -> None:
        """`now`: wall time, for the change."""
        if self.state.served - self.looked_at < EVERY:
            return
        self.looked_at = self.state.served
        before, self.told = self.told, {}
        for route, rollout in self.state.rollouts():
            said, key = rollout.recommendation, (route.name, rollout.challenger)
            if said is None:
                continue
            self.told[key] = said.advice
            if said.advice is not before.get(key, Advice.UNDECIDED):
                text = f"{rollout.challenger}: {said.advice}: {said.reason}"
                log.info("%s: recommendation for %s", route.name, text)
                self.feed.publish(StatusChange(now, "recommendation", route.name, text))


def recommendation_view(rollout: RolloutRuntime, served: float, horizon: float) -> RecommendationView | None:
    """`served`: the time now; `horizon`: of the route's feedback. The first numbers came after it, and so many a second since."""
    said, goal = rollout.recommendation, rollout.plan.primary
    if said is None or goal is None:
        return None
    lift = said.lift
    rate = _rate(lift, served - rollout.state.started - horizon)
    needed = lift.needed if lift and said.advice is Advice.UNDECIDED else None
    planned = lift.planned if lift else None
    return RecommendationView(
        recommendation=str(said.advice),
        primary=goal.title,
        min_lift=goal.min_lift,
        act=goal.act,
        reason=said.reason,
        n=lift.n if lift else 0,
        lift=lift.gain if lift else None,
        interval=(lift.low, lift.high) if lift else None,
        p_value=lift.p_value if lift else None,
        evidence={"PROMOTE": lift.better, "KEEP": lift.worse} if lift else {},
        bound=said.bound,
        eta_units=needed,
        eta_seconds=needed / rate if needed is not None and rate else None,
        planned_units=planned,
        planned_seconds=planned / rate if planned is not None and rate else None,
        others=_others(rollout),
    )


def _others(rollout: RolloutRuntime) -> dict[str, float | None]:
    """The lift of each other challenger on trial for the same number."""
    return {
        name: lift.gain if lift else None for name, lift in rollout.lifts.items() if not (lift and lift.out)
    }


def _rate(lift: Lift | None, seconds: float) -> float:
    """Units of the smaller side a second."""
    return lift.units / seconds if lift and seconds > 0 else 0.0
