"""The table: each pair of phase and event, and law 5 over any order of events."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

import crossfade
from crossfade.rollout.diagram import mermaid
from crossfade.rollout.machine import (
    TABLE,
    Event,
    NotAllowedError,
    Phase,
    RolloutState,
    Step,
    action_of,
    active_step,
    advance,
    exposure,
    mirrored,
)
from crossfade.scale import WHOLE

OPERATOR = {Event.RESUME, Event.PROMOTE}
PASSES = {Event.BEGIN, Event.PASS, Event.STEP_TIMEOUT}


def limited(then: Literal["abort", "advance", "pause"] = "advance", weight: int = 5000) -> Step:
    return Step(weight, 60.0, approval=True, approval_within=9.0, approval_then=then)


def state(phase: Phase = Phase.PROGRESSING, **changes) -> RolloutState:
    made = RolloutState(
        route="r",
        strategy="canary",
        champion="v2",
        challenger="v3",
        identity="i",
        steps=(Step(100, 60.0), Step(5000, 60.0, approval=True)),
        watch=300.0,
        started=0.0,
        since=0.0,
        patience_from=0.0,
        phase=phase,
        begun=True,
        watch_until=400.0 if phase is Phase.PROMOTED else None,
    )
    return replace(made, **changes)


@pytest.mark.parametrize(("phase", "event"), list(product(Phase, Event)))
def test_each_pair_leads_to_a_target_of_the_table_or_is_refused(phase, event):
    before = state(phase, begun=event is not Event.BEGIN, no_way_back=event is Event.WAY_BACK)
    if event is Event.APPROVAL_TIMEOUT:
        before = replace(before, steps=(limited(),), awaits_approval=phase is Phase.PAUSED)
    transition = TABLE.get((phase, event))
    if transition is None:
        with pytest.raises(NotAllowedError, match=f"{phase} does not accept {event}"):
            advance(before, event, 10.0)
    else:
        assert advance(before, event, 10.0, "because").phase in transition.targets


def test_a_refusal_names_the_commands_of_an_operator_and_no_event_of_the_loop():
    with pytest.raises(NotAllowedError, match=r"it accepts pause, promote, abort, restart$"):
        advance(state(Phase.PROGRESSING), Event.ROLLBACK, 10.0)


def test_every_target_of_the_table_is_reached():
    starts = [
        state(phase, step=step, begun=begun, awaits_approval=waits)
        for phase, step, begun, waits in product(Phase, (0, 1), (False, True), (False, True))
    ]
    starts += [replace(s, no_way_back=True) for s in starts]
    plans = [(Step(100, 60.0), Step(5000, 60.0))]
    plans += [(limited(then, 100), limited(then)) for then in ("advance", "pause")]
    starts += [replace(s, steps=steps) for s in starts for steps in plans]
    reached: dict[tuple[Phase, Event], set[Phase]] = {}
    for start, event in product(starts, Event):
        try:
            after = advance(start, event, 10.0)
        except NotAllowedError:
            continue
        reached.setdefault((start.phase, event), set()).add(after.phase)
    assert reached == {pair: set(transition.targets) for pair, transition in TABLE.items()}


def test_steps_advance_to_the_promote_and_the_watch_ends():
    now = advance(state(begun=False), Event.BEGIN, 5.0)
    assert (now.begun, now.since, exposure(now), active_step(now)) == (True, 5.0, 100, 0)
    now = advance(now, Event.PASS, 70.0)
    assert (now.step, now.since, exposure(now), active_step(now)) == (1, 70.0, 5000, 1)
    now = advance(now, Event.PASS, 140.0)
    assert (now.phase, now.awaits_approval, exposure(now)) == (Phase.PAUSED, True, 5000)
    now = advance(now, Event.RESUME, 150.0)
    assert (now.phase, now.watch_until, exposure(now), active_step(now)) == (Phase.PROMOTED, 450.0, WHOLE, 2)
    now = advance(now, Event.WATCH_ENDED, 460.0)
    assert (now.phase, now.watch_until, exposure(now)) == (Phase.PROMOTED, None, WHOLE)


def test_a_watch_holds_back_until_it_ends():
    now = advance(state(step=1, holdback=200), Event.PROMOTE, 100.0)
    assert (now.held_back, exposure(now), active_step(now)) == (200, 9800, 2)
    ended = advance(now, Event.WATCH_ENDED, 400.0)
    assert (ended.held_back, ended.holdback, exposure(ended), active_step(ended)) == (0, 200, WHOLE, 2)
    for event in (Event.ROLLBACK, Event.FAIL, Event.ABORT, Event.RESTART):
        after = advance(now, event, 200.0)
        assert (after.held_back, after.holdback, exposure(after)) == (0, 200, 0)


@pytest.mark.parametrize(("weight", "held_back"), [(9800, 200), (9900, 100), (WHOLE, 0)])
def test_a_promote_never_takes_from_the_challenger(weight, held_back):
    now = advance(state(steps=(Step(weight, 1.0),), holdback=200), Event.PROMOTE, 1.0)
    assert (now.held_back, exposure(now)) == (held_back, WHOLE - held_back)


def test_without_a_watch_nothing_is_held_back():
    now = advance(state(watch=0.0, holdback=200), Event.PROMOTE, 1.0)
    assert (now.held_back, exposure(now)) == (0, WHOLE)


@pytest.mark.parametrize(
    ("then", "phase", "step", "word"),
    [
        ("advance", Phase.PROGRESSING, 1, "advance"),
        ("pause", Phase.PAUSED, 0, "approval_timeout"),
    ],
)
def test_after_the_limit_of_an_approval_the_step_s_then_follows(then, phase, step, word):
    asked = advance(state(steps=(limited(then, 100), limited(then))), Event.PASS, 70.0)
    assert (asked.awaits_approval, asked.asked_at) == (True, 70.0)
    after = advance(asked, Event.APPROVAL_TIMEOUT, 79.0)
    assert (after.phase, after.step, after.awaits_approval) == (phase, step, False)
    assert action_of(Event.APPROVAL_TIMEOUT, asked, after) == word


@pytest.mark.parametrize(
    "asked",
    [
        state(Phase.PAUSED, steps=(limited(),)),
        state(Phase.PAUSED, steps=(limited("abort"),), awaits_approval=True),
        state(Phase.PAUSED, steps=(Step(100, 60.0, approval=True),), awaits_approval=True),
    ],
)
def test_no_other_wait_ends_by_the_limit_of_an_approval(asked):
    with pytest.raises(NotAllowedError, match="no approval that ends by time"):
        advance(asked, Event.APPROVAL_TIMEOUT, 1.0)


def test_a_resume_after_then_pause_asks_for_the_approval_again():
    asked = advance(state(steps=(limited("pause"),)), Event.PASS, 70.0)
    resumed = advance(advance(asked, Event.APPROVAL_TIMEOUT, 79.0), Event.RESUME, 90.0)
    assert (resumed.phase, resumed.step) == (Phase.PROGRESSING, 0)
    again = advance(resumed, Event.PASS, 91.0)
    assert (again.phase, again.awaits_approval, again.asked_at) == (Phase.PAUSED, True, 91.0)


def test_resume_keeps_the_step_and_restarts_max_step_time():
    paused = advance(state(since=3.0), Event.PAUSE, 50.0, "lunch")
    assert (paused.reason, exposure(paused)) == ("lunch", 100)
    resumed = advance(paused, Event.RESUME, 90.0)
    assert (resumed.phase, resumed.step, resumed.since, resumed.patience_from) == (
        Phase.PROGRESSING,
        0,
        3.0,
        90.0,
    )


def test_a_challenger_on_trial_can_fail_in_each_phase_in_which_it_has_traffic():
    assert advance(state(), Event.FAIL, 1.0).phase is Phase.ABORTED
    assert advance(state(Phase.PAUSED), Event.FAIL, 1.0).phase is Phase.ABORTED
    assert advance(state(Phase.PROMOTED), Event.FAIL, 1.0).phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("event", [Event.FAIL, Event.WATCH_ENDED])
def test_after_the_watch_fail_and_watch_ended_are_refused(event):
    with pytest.raises(NotAllowedError, match="not being watched"):
        advance(state(Phase.PROMOTED, watch_until=None), event, 1.0)


def test_without_a_watch_only_an_operator_can_roll_back():
    promoted = advance(state(watch=0.0), Event.PROMOTE, 1.0)
    assert promoted.watch_until is None
    assert advance(promoted, Event.ROLLBACK, 2.0).phase is Phase.ROLLED_BACK


def test_a_step_that_has_not_begun_cannot_pass_and_one_that_has_cannot_begin():
    with pytest.raises(NotAllowedError):
        advance(state(begun=False), Event.PASS, 1.0)
    with pytest.raises(NotAllowedError):
        advance(state(), Event.BEGIN, 1.0)


@pytest.mark.parametrize("phase", [Phase.ABORTED, Phase.ROLLED_BACK])
def test_a_second_abort_changes_nothing_and_only_retry_leaves_the_phase(phase):
    ended = state(phase, step=1)
    assert advance(ended, Event.ABORT, 9.0, "again") is ended
    again = advance(ended, Event.RETRY, 9.0)
    assert (again.phase, again.step, again.begun, again.attempt) == (Phase.PROGRESSING, 0, False, 2)
    assert exposure(again) == 0


@pytest.mark.parametrize(
    ("before", "event", "word"),
    [
        (state(begun=False), Event.BEGIN, "begin"),
        (state(), Event.PASS, "advance"),
        (state(), Event.STEP_TIMEOUT, "advance"),
        (state(step=1), Event.PASS, "pause"),
        (state(Phase.PAUSED, awaits_approval=True), Event.RESUME, "advance"),
        (state(Phase.PAUSED, awaits_approval=True, step=1), Event.RESUME, "promote"),
        (state(Phase.PAUSED), Event.RESUME, "resume"),
        (state(), Event.FAIL, "abort"),
        (state(Phase.PROMOTED), Event.FAIL, "rollback"),
        (state(Phase.PROMOTED), Event.WATCH_ENDED, "watch_ended"),
        (state(Phase.ABORTED), Event.RETRY, "retry"),
    ],
)
def test_action_of_names_each_transition_as_in_the_glossary(before, event, word):
    assert action_of(event, before, advance(before, event, 1.0)) == word


def _may_advance(before: RolloutState, event: Event) -> bool:
    """Whether the operator wrote that the step advances without an approval."""
    return event is Event.APPROVAL_TIMEOUT and before.steps[before.step].approval_then == "advance"


class NoOrderOfEventsRaisesExposure(RuleBasedStateMachine):
    """Law 5: only a PASS, the operator's file (BEGIN, STEP_TIMEOUT, the end of a holdback) or an operator's command does."""

    @initialize(
        weights=st.lists(st.integers(0, WHOLE), min_size=1, max_size=5, unique=True).map(sorted),
        mirrors=st.lists(st.integers(1, WHOLE), max_size=2, unique=True).map(sorted),
        approvals=st.lists(st.sampled_from([None, "", "pause", "advance"]), min_size=5, max_size=5),
        watch=st.sampled_from([0.0, 60.0]),
        holdback=st.sampled_from([0, 0, 1, 200, 5000]),
    )
    def start(self, weights, mirrors, approvals, watch, holdback):
        copies = [Step(0, 1.0, mirror=share) for share in mirrors]
        asked = {None: Step(0, 1.0), "": Step(0, 1.0, approval=True)}
        asked |= {then: limited(then) for then in ("pause", "advance")}
        steps = (*copies, *(replace(asked[a], weight=w) for w, a in zip(weights, approvals, strict=False)))
        self.state = state(steps=steps, begun=False, watch=watch, holdback=holdback)
        self.now = 0.0
        self.latched = False

    @rule(event=st.sampled_from(Event))
    def apply_event(self, event):
        self.now += 1
        before = self.state
        try:
            self.state = advance(before, event, self.now)
        except NotAllowedError:
            assert self.state is before
            return
        if exposure(self.state) > exposure(before) or mirrored(self.state) > mirrored(before):
            ends_holdback = event is Event.WATCH_ENDED and before.held_back > 0
            assert event in PASSES | OPERATOR or _may_advance(before, event) or ends_holdback
            assert not self.latched
        elif exposure(self.state) < exposure(before):
            assert self.state.phase is not Phase.PROMOTED
        if self.state.phase in (Phase.ABORTED, Phase.ROLLED_BACK):
            self.latched = True
        elif event in (Event.RETRY, Event.RESTART):
            self.latched = False
        assert not (self.latched and (exposure(self.state) or mirrored(self.state)))

    @invariant()
    def exposure_is_a_weight_of_the_plan(self):
        if hasattr(self, "state"):
            assert not (exposure(self.state) and mirrored(self.state))
            held_back = self.state.held_back
            assert exposure(self.state) in {0, WHOLE - held_back, *(s.weight for s in self.state.steps)}
            assert not held_back or self.state.is_watched
            assert not (self.state.awaits_approval and self.state.phase is not Phase.PAUSED)


TestLawFive = NoOrderOfEventsRaisesExposure.TestCase


def test_the_readme_contains_the_diagram_of_the_table():
    text = (Path(crossfade.__file__).parents[1] / "README.md").read_text()
    _, _, rest = text.partition("<!-- rollout-diagram: begin -->\n```mermaid\n")
    diagram, _, _ = rest.partition("\n```\n<!-- rollout-diagram: end -->")
    assert diagram == mermaid(), "put the output of crossfade.rollout.diagram.mermaid() between the markers"
