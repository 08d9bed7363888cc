"""Law 14 over any order of service, lateness, steps of the wall clock, stops and kills: no hold ends before it is served."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from crossfade.control.refusal import Refused
from crossfade.control.replay import journal, replayed
from crossfade.control.served_clock import MAX_STEP
from crossfade.control.store import Store
from crossfade.control.views import Verb
from tests.tries import tries

from .harness import CANARY, Harness

HOLD = 30.0
YAML = (
    CANARY.replace("hold: 10s", "hold: 30s")
    .replace("watch: 60s", "watch: 30s")
    .replace("max_step_time", "# ")
)
ROUNDING = 1e-3  # seconds; epoch times as floats are exact to a microsecond


class NoHoldEndsBeforeItIsServed(RuleBasedStateMachine):
    """`served`: the seconds in which a proxy was at work, added up apart from the product's clock."""

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner(debug=False)
        self.store = Store.open("sqlite::memory:")
        self.harness = Harness(self.store)
        self.served = self.lost = 0.0
        self.runner.run(self.harness.load(YAML))
        self.entered = self.position, self.served

    @property
    def position(self) -> tuple[str, int, float]:
        """Phase, step, and whether the challenger has traffic."""
        rollout = self.harness.rollout
        return rollout.phase, rollout.step, min(rollout.weight, 0.01)

    def tick(self, seconds: float) -> None:
        self.served += seconds
        self.runner.run(self.harness.tick(400, seconds))
        self.look(by_time=True)

    def look(self, by_time: bool) -> None:
        """After a change of the position, the time that the one before was in force is the hold, or more."""
        before, since = self.entered
        if self.position == before:
            return
        if by_time and before[2]:
            phase, step, _ = self.position
            assert (phase, step) != before[:2]
            assert self.served - since >= HOLD - ROUNDING, (before, self.position)
        is_same_step = before[1:] == self.position[1:] and {before[0], self.position[0]} == {
            "paused",
            "progressing",
        }
        self.entered = self.position, since if is_same_step else self.served

    @rule(seconds=st.floats(0.05, 20), ticks=st.integers(1, 6))
    def serve(self, seconds: float, ticks: int) -> None:
        for _ in range(ticks):
            self.tick(seconds)

    @rule(seconds=st.floats(MAX_STEP, 1e6))
    def stand_still(self, seconds: float) -> None:
        """The control process is stopped and goes on; the ticks that it missed count as one that was late."""
        self.harness.now += seconds
        self.served += MAX_STEP
        self.runner.run(self.harness.tick(400, 0.0))
        self.look(by_time=True)

    @rule(seconds=st.floats(-1e7, 1e7))
    def set_wall_clock(self, seconds: float) -> None:
        self.harness.wall_ahead += seconds

    @rule(down=st.floats(0, 1e6), clean=st.booleans())
    def restart(self, down: float, clean: bool) -> None:
        before = self.harness
        if clean:
            self.runner.run(before.controller.close())
        else:
            self.lost += 1.0  # the evidence and the clock are saved each second
        self.harness = Harness(self.store)
        self.harness.now, self.harness.wall_ahead = before.now + down, before.wall_ahead
        self.runner.run(self.harness.load(YAML))
        assert self.position == self.entered[0]

    @rule(verb=st.sampled_from([Verb.PAUSE, Verb.RESUME, Verb.ROLLBACK, Verb.RETRY]))
    def command(self, verb: Verb) -> None:
        with suppress(Refused):
            self.runner.run(self.harness.controller.command("churn", verb, "api:kim", self.harness.wall))
        self.runner.run(self.harness.controller.idle())
        self.look(by_time=False)

    @invariant()
    def no_more_is_counted_than_was_served_and_no_less(self) -> None:
        """The clock is not saved while no time counts: after an abort, and after the watch."""
        if not hasattr(self, "entered") or not self.position[2] or self.position[0] == "paused":
            return
        state = self.harness.controller.state.rollout("churn", "v3").state
        counted, served = self.harness.rollout.elapsed, self.served - self.entered[1]
        assert counted <= served + ROUNDING
        assert counted >= served - self.lost - ROUNDING or not state.is_guarded

    def teardown(self) -> None:
        if hasattr(self, "harness"):
            self.runner.run(self.harness.controller.idle())
            assert replayed(journal(self.store)).differences == []
            self.runner.close()
            self.store.close()


def test_law_fourteen() -> None:
    run_state_machine_as_test(
        NoHoldEndsBeforeItIsServed,
        settings=settings(max_examples=tries(30), stateful_step_count=20, deadline=None),
    )
