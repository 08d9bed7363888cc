"""One route of a reload: the difference between what the file said and says, applied to the state (law 13).

`run` reads from top to bottom: what is refused, rollouts that end, backends that are gone, an edited split, plans edited in place,
rollouts that begin, and all other edits in words. Each step that changes something is a decision.

Traffic moves only where the file's split was edited, where a running rollout was taken out (its challenger's share goes back), where
another rollout begins, or where a backend is gone. A promoted challenger is the champion, whatever the file still says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from crossfade.config.model import Config, RolloutConfig, RouteConfig
from crossfade.control.adopting import adopted, identity_of, model_of
from crossfade.control.applied import Applied, applied_of
from crossfade.control.change import Cause, home_of
from crossfade.control.edits import plan_edits, route_edits, split_words
from crossfade.control.refusal import Refused
from crossfade.control.route_record import RouteRecord
from crossfade.rollout.machine import Event, Phase, RolloutState, advance, exposure, later
from crossfade.rollout.plan import Plan
from crossfade.rollout.plan_change import NotInPlace, new_checks, state_under
from crossfade.rollout.strategy import plans_of, split_for_step, state_with_split
from crossfade.rollout.verdict import duration, percent
from crossfade.routing.ledger import Ledger, moved_to, new_ledger, restore, reweigh, salt_of
from crossfade.scale import WHOLE

RETURN = "return"  # the action of a route that comes back to the file

EDIT = "edit"  # the action of a decision that changes a plan, and moves nobody


class PlannedDecision(NamedTuple):
    """One decision about a route, and the record that it leads to. `challenger`: "" if it is not of a rollout.

    `fresh`: a new attempt begins, with empty evidence. `is_new`: the journal has nothing of the route since it left the file. `edit`: a plan edited in place, as (the plan,
    the plan before, the states before and after).
    """

    record: RouteRecord
    action: str
    reason: str
    challenger: str = ""
    fresh: bool = False
    is_new: bool = False
    edit: tuple[Plan, Plan | None, tuple[RolloutState, RolloutState]] | None = None


class RouteEdit:
    """After `run`: `record` is the next state, `decisions` lead there. `old`: the state before, None for a new route."""

    def __init__(self, config: Config, route: RouteConfig, old: RouteRecord | None, cause: Cause) -> None:
        self.config, self.route, self.old = config, route, old
        self.now, self.at = cause.now, cause.at
        self.salt = old.salt if old else salt_of(route.name)
        self.record = adopted(old, config) if old else self._new_record()
        self.before = self.record.applied
        self.after = applied_of(route, config, self.before.hashed_as)
        self.plans = plans_of(route)
        self.restarted = set(self.after.restarted) - set(self.before.restarted)
        self.decisions: list[PlannedDecision] = []

    def _new_record(self) -> RouteRecord:
        ledger = new_ledger(self.route.split, self.salt)
        return RouteRecord(self.route.name, ledger, Applied(self.route.split))

    def run(self) -> None:
        """Raises Refused with all that cannot be done in place; then nothing counts."""
        if self.old is not None and self.old.left_at is not None:
            self._come_back(self.old.left_at)
        kept, ended = self._sort_rollouts()
        self._refuse(kept, ended)
        for name in ended:
            self._end(name)
        self._replace_missing_backends()
        if self.old is not None and self.route.split != self.before.split:
            self._apply_split()
        for name in kept:
            self._edit_plan(name)
        for rollout in self.route.rollout:
            if rollout.challenger not in kept:
                self._start(rollout)
        self._say_the_rest()
        self.record = replace(self.record, applied=self.after, left_at=None)
        if self.decisions:
            self.decisions[-1] = self.decisions[-1]._replace(record=self.record)

    def _decide(
        self, record: RouteRecord, action: str, reason: str, challenger: str = "", fresh: bool = False
    ) -> None:
        self.record = record
        self.decisions.append(PlannedDecision(record, action, reason, challenger, fresh))

    # ── a route that comes back ──────────────────────────────────────────────────────────────────

    def _come_back(self, left_at: float) -> None:
        """Its rollouts go on; the time without traffic does not count."""
        away = self.now - left_at
        states = {name: later(state, away) for name, state in self.record.rollouts.items()}
        renamed = self.route.renamed_from if self.before.hashed_as and not away else None
        reason = (
            f"goes on from {renamed}"
            if renamed
            else f"the route is back in the file after {duration(away)}, and goes on"
        )
        whole = replace(self.record, rollouts=states, left_at=None)
        self.decisions.append(PlannedDecision(replace(whole, rollouts={}), RETURN, reason, is_new=True))
        for name in states:
            so_far = {each: states[each] for each in list(states)[: list(states).index(name) + 1]}
            self._decide(replace(whole, rollouts=so_far), RETURN, reason, name)
        self.record = whole

    # ── what can be done ─────────────────────────────────────────────────────────────────────────

    def _sort_rollouts(self) -> tuple[list[str], list[str]]:
        """The challengers whose rollout goes on, and those whose rollout ends."""
        states = self.record.rollouts
        kept = [name for name in states if name in self.plans and self._goes_on(states[name])]
        return kept, [name for name in states if name not in kept]

    def _goes_on(self, state: RolloutState) -> bool:
        """A promoted challenger is the champion, so no edit of the plan ends its rollout."""
        plan, name = self.plans[state.challenger], state.challenger
        if name in self.restarted:
            return False
        if state.phase is Phase.PROMOTED:
            return True
        return state.content == model_of(name, self.config) and (
            (state.is_running and state.begun)
            or state.identity == identity_of(plan.champion, name, self.config)
        )

    def _refuse(self, kept: list[str], ended: list[str]) -> None:
        reasons = [*self._sticky_faults(kept), *self._champion_faults(ended)]
        for name in kept:
            state, plan = self.record.rollouts[name], self.plans[name]
            try:
                state_under(plan, state)
            except NotInPlace as error:
                reasons.append(f"{error}")
            if state.is_running and state.identity != identity_of(plan.champion, name, self.config):
                reasons.append(
                    f"{name} is compared with {state.identity.partition(' → ')[0]}, and the file says "
                    f"{model_of(plan.champion, self.config)} now"
                )
        if reasons:
            advice = "abort the rollout first, or write `restart: true` in it for a new attempt"
            raise Refused(f"route {self.route.name}: {'; '.join(reasons)}: {advice}")

    def _sticky_faults(self, kept: list[str]) -> list[str]:
        running = [
            name
            for name in kept
            if self.record.rollouts[name].is_running and self.record.rollouts[name].begun
        ]
        before, after = (applied.settings.get("sticky") for applied in (self.before, self.after))
        if not running or not self.before.is_known or before == after:
            return []
        return [f"another sticky key would move customers while the rollout of {running[0]} runs"]

    def _champion_faults(self, ended: list[str]) -> list[str]:
        """Another rollout whose champion is not the challenger that was promoted would move everybody back."""
        if self.route.split != self.before.split:
            return []
        promoted = [name for name in ended if self.record.rollouts[name].phase is Phase.PROMOTED]
        return [
            f"{promoted[0]} was promoted and is the champion, and the rollout of {rollout.challenger} names {rollout.champion}"
            for rollout in self.route.rollout
            if promoted and promoted[0] not in self.plans
            if rollout.champion != promoted[0] and rollout.challenger not in self.restarted
        ][:1]

    # ── rollouts that end, and what follows for the split ────────────────────────────────────────

    def _end(self, name: str) -> None:
        """A promoted challenger keeps the traffic, and gets what a watch held back. Of a running one the champion gets the buckets back."""
        record, state = self.record, self.record.rollouts[name]
        rollouts = {other: kept for other, kept in record.rollouts.items() if other != name}
        ledger, back = (
            record.ledger,
            state.is_running or (state.phase is Phase.PROMOTED and name in self.restarted),
        )
        if back and record.home is not None and not _has_share(ledger, rollouts):
            ledger = restore(record.home, ledger) if record.home.slots != ledger.slots else ledger
        elif back:
            ledger = home_of(ledger, state.champion, [name], self.salt)
        elif state.held_back:
            whole = split_for_step(ledger.weights, state.champion, name, WHOLE)
            ledger = reweigh(ledger, whole, self.salt)
        reason = self._end_reason(state)
        after = replace(record, ledger=ledger, rollouts=rollouts)
        if not rollouts:
            after = replace(after, home=None)
        self._decide(after, "end", reason, name)

    def _end_reason(self, state: RolloutState) -> str:
        where = f"{state.challenger} was in step {state.step + 1} of {len(state.steps)}"
        if state.phase is Phase.PROMOTED:
            where = f"{state.challenger} was promoted and stays the champion"
            if state.held_back:
                where += f"; it gets the {percent(state.held_back / WHOLE)} that {state.champion} kept"
        elif state.has_failed:
            where = f"{state.challenger} was {state.phase.replace('_', ' ')}"
        if state.challenger in self.restarted:
            return f"`restart: true` in the file: {where}"
        if state.challenger not in self.plans:
            return f"the rollout was taken out of the file: {where}"
        now = identity_of(self.plans[state.challenger].champion, state.challenger, self.config)
        return f"the file names another rollout, {now} instead of {state.identity}: {where}"

    def _replace_missing_backends(self) -> None:
        """Buckets of backends that are no longer in the file go to the champion, or follow the file's split."""
        record = self.record
        lost = [
            name
            for name, weight in record.ledger.weights.items()
            if weight and name not in self.config.backends
        ]
        home = record.home
        if home is not None and any(w and n not in self.config.backends for n, w in home.weights.items()):
            champion = next(iter(record.rollouts.values())).champion
            there = champion if champion in self.config.backends else self._first_of_split()
            home = moved_to(home, there, self.config.backends, self.salt)
        if not lost:
            self.record = replace(record, home=home)
            return
        running = [
            state for state in record.rollouts.values() if state.is_running or state.phase is Phase.PROMOTED
        ]
        if running and running[0].champion in self.config.backends:
            ledger = moved_to(record.ledger, running[0].champion, self.config.backends, self.salt)
            to = running[0].champion
        else:
            ledger, to = reweigh(record.ledger, self.route.split, self.salt), "the file's split"
        states = {name: state_with_split(state, ledger.weights) for name, state in record.rollouts.items()}
        after = replace(record, ledger=ledger, home=home, rollouts=states)
        self._decide(after, "split", f"{', '.join(lost)} is no longer in the file: its share goes to {to}")

    def _first_of_split(self) -> str:
        return max(self.route.split, key=lambda name: self.route.split[name])

    def _apply_split(self) -> None:
        """The file's split was edited. Running challengers keep their weight; what failed gets nothing."""
        record, split = self.record, dict(self.route.split)
        states = [state for state in record.rollouts.values() if state.challenger in self.plans]
        # A promoted challenger that the file gives all of it gets the rest when its watch has ended.
        by_rollout = [
            state
            for state in states
            if state.phase is not Phase.PROMOTED or (state.held_back and not split.get(state.champion))
        ]
        for state in by_rollout:
            share = split.pop(state.challenger, 0)
            split[state.champion] = split.get(state.champion, 0) + share
        home = (
            reweigh(record.home, split, self.salt) if record.home is not None and by_rollout else record.home
        )
        for state in by_rollout:
            split = split_for_step(split, state.champion, state.challenger, exposure(state), state.held_back)
        now = {name: weight for name, weight in record.ledger.weights.items() if weight}
        wanted = {name: weight for name, weight in split.items() if weight}
        ledger = record.ledger if wanted == now else reweigh(record.ledger, split, self.salt)
        words = f"split: {split_words(self.before.split)} → {split_words(self.route.split)}"
        kept = [
            f"{s.challenger} stays at {split_words({s.challenger: exposure(s)}).split()[-1]}"
            for s in by_rollout
            if exposure(s)
        ]
        words += (
            f"; {', '.join(kept)}, as its rollout says" if kept else "" if wanted != now else "; nobody moves"
        )
        self._decide(replace(record, ledger=ledger, home=home), "split", words)
        self._end_promotes_without_share()

    def _end_promotes_without_share(self) -> None:
        weights = self.record.ledger.weights
        for name, state in self.record.rollouts.items():
            if state.phase is Phase.PROMOTED and not weights.get(name):
                reason = f"the file's split sends nothing to {name}"
                after = replace(advance(state, Event.ROLLBACK, self.now, reason), since_at=self.at)
                latched = self.record.latched | {after.content: reason}
                record = replace(self.record, rollouts=self.record.rollouts | {name: after}, latched=latched)
                self._decide(record, "rollback", reason, name)
            elif state.is_watched and weights.get(name) != exposure(state):
                ended = replace(state, watch_until=None, held_back=0)
                states = self.record.rollouts | {name: ended}
                self.record = replace(self.record, rollouts=states)

    # ── rollouts that go on ──────────────────────────────────────────────────────────────────────

    def _edit_plan(self, name: str) -> None:
        record, state, plan = self.record, self.record.rollouts[name], self.plans[name]
        former = self.before.plans.get(name)
        compared = former or replace(
            plan, steps=state.steps, watch=state.watch, strategy=state.strategy, holdback=state.holdback
        )
        after = state_under(plan, state)
        champion = state.champion if state.is_guarded else plan.champion  # that of the next attempt
        after = replace(
            after,
            champion=champion,
            content=model_of(name, self.config),
            identity=identity_of(champion, name, self.config),
        )
        words = plan_edits(compared, plan)
        if state.is_watched and state.holdback != after.holdback:
            kept = percent(state.held_back / WHOLE)
            words.append(
                f"this holdback is of the next attempt: {state.champion} keeps {kept} until the watch ends"
            )
        if state.phase is Phase.PROMOTED and state.content != after.content:
            words.append(f"{name} is {after.content} now; it was promoted and keeps the traffic")
        if not words:
            self.record = replace(record, rollouts=record.rollouts | {name: after})
            return
        ledger = record.ledger
        if former is not None and new_checks(former, plan) and state.is_guarded:
            ledger = Ledger(
                ledger.backends, ledger.slots, ledger.version + 1
            )  # a new check counts from here on
        self.record = replace(record, ledger=ledger, rollouts=record.rollouts | {name: after})
        reason = f"{'; '.join(words)}; nobody moves"
        self.decisions.append(
            PlannedDecision(self.record, EDIT, reason, name, edit=(plan, former, (state, after)))
        )

    # ── rollouts that begin ──────────────────────────────────────────────────────────────────────

    def _start(self, rollout: RolloutConfig) -> None:
        """A first attempt. The challenger gets no traffic before it is up; one that is latched gets none at all."""
        record, plan = self.record, self.plans[rollout.challenger]
        state = self._first_state(plan)
        if rollout.challenger in self.restarted:
            record = replace(
                record, latched={c: why for c, why in record.latched.items() if c != state.content}
            )
        why = record.latched.get(state.content)
        ledger = record.ledger
        if why is not None or _goes_on(record.rollouts):
            ledger = home_of(ledger, plan.champion, [plan.challenger], self.salt)
        action, reason = "start", f"{rollout.strategy}: {rollout.challenger} is to replace {rollout.champion}"
        if why is not None:
            state = replace(state, phase=Phase.ABORTED, reason=why)
            action = "keep"
            reason = f"{plan.challenger} was aborted and stays so until retry or another version: {why}"
        home = home_of(record.home or record.ledger, plan.champion, list(self.plans), self.salt)
        rollouts = record.rollouts | {plan.challenger: state}
        ordered = {name: rollouts[name] for name in self.plans if name in rollouts}
        self._decide(
            replace(record, ledger=ledger, home=home, rollouts=ordered),
            action,
            reason,
            plan.challenger,
            fresh=True,
        )

    def _first_state(self, plan: Plan) -> RolloutState:
        return RolloutState(
            route=self.route.name,
            strategy=plan.strategy,
            champion=plan.champion,
            challenger=plan.challenger,
            identity=identity_of(plan.champion, plan.challenger, self.config),
            steps=plan.steps,
            watch=plan.watch,
            started=self.now,
            since=self.now,
            patience_from=self.now,
            since_at=self.at,
            content=model_of(plan.challenger, self.config),
            holdback=plan.holdback,
        )

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────

    def _say_the_rest(self) -> None:
        if self.old is None:
            if not self.decisions:
                self._decide(self.record, "create", "the route is new")
            return
        begun = {planned.challenger for planned in self.decisions if planned.fresh}
        words = route_edits(self.before, self.after, begun)
        if words:
            moves = any(word.startswith("sticky") for word in words)
            end = "customers get their backends anew by the new key" if moves else "nobody moves"
            self._decide(self.record, EDIT, f"{'; '.join(words)}; {end}")


def _has_share(ledger: Ledger, rollouts: Mapping[str, RolloutState]) -> bool:
    """Whether another challenger has buckets."""
    weights = ledger.weights
    return any(weights.get(name) for name in rollouts)


def _goes_on(rollouts: Mapping[str, RolloutState]) -> bool:
    return any(state.is_running or state.phase is Phase.PROMOTED for state in rollouts.values())
