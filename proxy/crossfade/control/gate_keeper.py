"""Asks the gates of steps: a webhook for each, when nothing else is missing, and again with growing pauses until it says go.

Rule: no tick waits for an answer. Silence, a status other than 2xx and an answer about an earlier step hold the rollout where it is
(rollout.step_gate). An answer that is another than before is in the journal before it counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple

import msgspec

from crossfade.coalescing import end_of
from crossfade.config.rollout import GateConfig
from crossfade.control.background import Background
from crossfade.control.controller import Controller
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.webhook import Answer, Call, call, new_session
from crossfade.rollout.retraining import pause_after
from crossfade.rollout.step_gate import GateAnswer
from crossfade.scale import WHOLE

log = logging.getLogger("crossfade.gate")

LOOK_EVERY = 0.25  # seconds
AFTER_GO = 5.0  # seconds until a go that led to nothing is asked for again
GATE = "gate"  # the action of a decision that says what one has answered


class Question(NamedTuple):
    """What a gate is asked about; another attempt or step is another question."""

    route: str
    challenger: str
    attempt: int
    step: int

    @property
    def id(self) -> str:
        return f"{self.route}/{self.challenger}/{self.attempt}/{self.step}"


class _Asked:
    """How often a question was asked, when it may be asked again (monotonic), and what was said last."""

    def __init__(self) -> None:
        self.times, self.due, self.said = 0, 0.0, ""


class GateKeeper:
    """Make it in a running loop."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.session = new_session()
        self.asked: dict[Question, _Asked] = {}
        self.busy: set[Question] = set()
        self.dashboard = ""
        self._background = Background()
        self._writing = Background()  # not cut off at the end: a decision that is written is told too

    def begin(self, dashboard: str) -> None:
        self.dashboard = dashboard
        self._background.spawn(self._follow())

    async def close(self) -> None:
        tasks = set(self._background.tasks)
        self._background.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.session.close()

    async def idle(self) -> None:
        """Returns when no gate is being asked; only where `begin` was not called."""
        await self._background.idle()

    async def _follow(self) -> None:
        while True:
            self.look()
            await end_of(LOOK_EVERY)

    def look(self) -> None:
        """Ask what is to be asked now."""
        present = set[Question]()
        for route, rollout in self.controller.state.rollouts():
            question = _question_of(route, rollout)
            present.add(question)
            if rollout.asks_gate and question not in self.busy:
                self._begin(question, rollout)
        self.asked = {question: asked for question, asked in self.asked.items() if question in present}

    def _begin(self, question: Question, rollout: RolloutRuntime) -> None:
        asked = self.asked.setdefault(question, _Asked())
        gate = _gate_of(rollout, question.step)
        if gate is not None and time.monotonic() >= asked.due:
            self.busy.add(question)
            self._background.spawn(self._ask(question, asked, gate, self._body(question, rollout)))

    async def _ask(self, question: Question, asked: _Asked, gate: GateConfig, body: bytes) -> None:
        try:
            what = Call(gate.webhook, body, question.id, int(time.time()), gate.secret)
            answer = await call(self.session, what, gate.timeout)
            asked.times += 1
            pause = AFTER_GO if answer.is_success else max(pause_after(asked.times), answer.retry_after)
            asked.due = time.monotonic() + pause
            if answer.is_success:
                asked.times = 0
            await self._note(question, asked, answer)
        finally:
            self.busy.discard(question)

    async def _note(self, question: Question, asked: _Asked, answer: Answer) -> None:
        """The answer counts, if the rollout still stands where it was asked about."""
        rollout = self._asking(question)
        if rollout is None:
            return
        if answer.detail != asked.said:
            if not await self._write(question, answer):
                return  # the disk is asked again with the gate
            asked.said = answer.detail
            rollout = self._asking(question)
        if rollout is not None:
            at = self.controller.state.served
            rollout.gate = GateAnswer(at, question.attempt, question.step, answer.is_success, answer.detail)

    async def _write(self, question: Question, answer: Answer) -> bool:
        said = "go" if answer.is_success else "UNDECIDED"
        to = {GATE: said, "challenger": question.challenger}
        reason = f"gate of step {question.step + 1} of {question.challenger}: {said}: {answer.detail}"
        written = self._writing.task(self.controller.record(question.route, GATE, to, reason))
        return await asyncio.shield(written)

    def _asking(self, question: Question) -> RolloutRuntime | None:
        """The rollout, if it still stands there."""
        route = self.controller.state.routes.get(question.route)
        rollout = None if route is None else route.rollouts.get(question.challenger)
        if route is None or rollout is None or _question_of(route, rollout) != question:
            return None
        return rollout

    def _body(self, question: Question, rollout: RolloutRuntime) -> bytes:
        """What is asked, as JSON."""
        state, admin = rollout.state, self.controller.state.config.config.admin
        after = WHOLE if state.is_last_step else state.steps[state.step + 1].weight
        found = (admin.external_url or self.dashboard).rstrip("/")
        return msgspec.json.encode(
            {
                "id": question.id,
                "event": GATE,
                "at": self.controller.state.wall,
                "route": question.route,
                "champion": state.champion,
                "challenger": state.challenger,
                "attempt": state.attempt,
                "step": state.step,
                "steps": len(state.steps),
                "from": {"weight": state.steps[state.step].weight / WHOLE},
                "to": {"weight": after / WHOLE, "promote": state.is_last_step},
                "verdicts": [
                    {"check": v.check, "verdict": str(v.verdict), "reason": v.reason}
                    for v in rollout.verdicts
                ],
                "link": f"{found}/#/route/{question.route}",
            }
        )


def _question_of(route: RouteRuntime, rollout: RolloutRuntime) -> Question:
    return Question(route.name, rollout.challenger, rollout.state.attempt, rollout.state.step)


def _gate_of(rollout: RolloutRuntime, step: int) -> GateConfig | None:
    steps = rollout.config.steps
    return steps[step].gate if step < len(steps) else None
