"""Gates are asked beside the loop; what they said is in the journal, and a replay needs no webhook."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from crossfade.control import gate_keeper
from crossfade.control.change import LOOP
from crossfade.control.gate_keeper import GateKeeper
from crossfade.control.replay import replayed
from crossfade.control.subscription import Notice
from crossfade.control.views import Verb
from tests.control.gated_store import gated_store
from tests.control.harness import Harness, rollout_entry, rows_of, with_rollouts
from tests.control.receiver import Hook, listening, until

SECRET = "a secret of the webhook"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_keeper, "pause_after", lambda attempt: 0.0)
    monkeypatch.setattr(gate_keeper, "AFTER_GO", 0.0)


def gated(url: str, more: str = "", timeout: str = "5s") -> str:
    gate = f"gate: {{webhook: '{url}', timeout: {timeout}, secret: {SECRET}}}"
    yaml = with_rollouts(rollout_entry("v3", "5%", "50%", more=more))
    return yaml.replace("{weight: 5%, hold: 10s}", f"{{weight: 5%, hold: 10s, {gate}}}")


class Gated:
    """A harness whose gate is asked between its ticks."""

    def __init__(self, harness: Harness | None = None) -> None:
        self.harness = harness or Harness()
        self.keeper = GateKeeper(self.harness.controller)
        self.keeper.dashboard = "http://127.0.0.1:9901"

    async def run(self, ticks: int) -> None:
        for _ in range(ticks):
            await self.harness.tick(400)
            self.keeper.look()
            await self.keeper.idle()

    async def gates(self) -> list[tuple[str, str]]:
        """What they said, as the journal has it."""
        return [(d.to["gate"], d.reason) for d in await self.harness.decisions() if d.action == "gate"]


async def test_a_go_lets_the_step_advance_and_the_question_says_what_it_is_about():
    hook = Hook(204)
    async with listening(hook) as url:
        at = Gated()
        await at.harness.load(gated(url))
        await at.run(5)
        assert hook.told == []
        await at.run(15)
        await at.keeper.close()
    assert at.harness.rollout.step == 1
    question, headers = hook.told[0], hook.headers[0]
    assert question["id"] == headers["idempotency-key"] == "churn/v3/1/0"
    assert (question["from"], question["to"]) == ({"weight": 0.05}, {"weight": 0.5, "promote": False})
    assert {v["verdict"] for v in question["verdicts"]} == {"PASS"}
    assert question["link"] == "http://127.0.0.1:9901/#/route/churn"
    when, digest = (part.partition("=")[2] for part in headers["x-crossfade-signature"].split(","))
    assert (
        digest == hmac.new(SECRET.encode(), f"{when}.".encode() + hook.bodies[0], hashlib.sha256).hexdigest()
    )
    assert len(hook.told) == 1
    reason = "gate of step 1 of v3: go: the webhook answered 204"
    assert await at.gates() == [("go", reason)]
    (advance,) = [d for d in await at.harness.decisions() if d.action == "advance"]
    assert advance.reason.endswith("the gate said go (the webhook answered 204)")
    assert advance.actor == LOOP


async def test_a_refusal_holds_with_the_reason_and_the_next_go_advances():
    hook = Hook(503, 503, 503, 200)
    hook.text = "a freeze until Monday"
    async with listening(hook) as url:
        at = Gated()
        await at.harness.load(gated(url))
        await at.run(14)
        waits = at.harness.rollout
        assert (waits.step, waits.phase) == (0, "progressing")
        assert waits.waiting_for == "the gate (UNDECIDED: the webhook answered 503: a freeze until Monday)"
        why = await at.harness.views.why("churn")
        assert "a freeze until Monday" in " ".join(why.would_change)
        await at.run(6)
        await at.keeper.close()
    assert at.harness.rollout.step == 1
    assert [said for said, _ in await at.gates()] == ["UNDECIDED", "go"]


async def test_silence_is_undecided_and_no_tick_waits_for_it():
    hook = Hook()
    hook.hold.clear()
    async with listening(hook) as url:
        at = Gated()
        await at.harness.load(gated(url, timeout="50ms"))
        await at.run(12)
        assert at.harness.rollout.waiting_for == "the gate (UNDECIDED: no answer within 0.05s)"
        assert at.harness.weights == {"v2": 9_500, "v3": 500}
        await at.keeper.close()


async def test_nobody_is_asked_twice_at_the_same_time():
    hook = Hook()
    hook.hold.clear()
    async with listening(hook) as url:
        at = Gated()
        await at.harness.load(gated(url))
        await at.harness.run(12)
        at.keeper.look()
        at.keeper.look()
        await at.harness.run(3)
        at.keeper.look()
        assert at.harness.rollout.waiting_for == "the gate (UNDECIDED: it is being asked)"
        hook.hold.set()
        await at.keeper.idle()
        await at.harness.tick()
        assert (len(hook.told), at.harness.rollout.step) == (1, 1)
        await at.keeper.close()


async def test_an_answer_about_an_attempt_that_is_over_counts_for_nothing():
    hook = Hook()
    hook.hold.clear()
    async with listening(hook) as url:
        at = Gated()
        await at.harness.load(gated(url))
        await at.harness.run(12)
        at.keeper.look()
        for verb in (Verb.ABORT, Verb.RETRY):
            await at.harness.controller.command("churn", verb, "alice", at.harness.now)
        hook.hold.set()
        await at.keeper.idle()
        await at.keeper.close()
    assert await at.gates() == []
    assert at.harness.controller.state.routes["churn"].rollouts["v3"].gate is None


async def test_a_gate_that_refuses_for_max_step_time_pauses_and_its_reason_is_in_the_journal():
    hook = Hook(403)
    async with listening(hook) as url:
        at = Gated()
        await at.harness.load(gated(url, more=", max_step_time: 20s"))
        await at.run(25)
        await at.keeper.close()
    assert at.harness.rollout.phase == "paused"
    (pause,) = [d for d in await at.harness.decisions() if d.action == "pause"]
    assert pause.reason == (
        "max_step_time is over and the step still waits for the gate (UNDECIDED: the webhook answered 403: ok)"
    )


async def test_the_journal_replays_without_the_webhook_and_not_with_another_answer():
    hook = Hook(500, 200)
    async with listening(hook) as url:
        at = Gated()
        await at.harness.load(gated(url))
        await at.run(20)
        await at.keeper.close()
    decisions = await at.harness.decisions()
    report = replayed(rows_of(decisions))
    assert report.differences == [] and report.replayed >= 2
    (advance,) = [d for d in decisions if d.action == "advance"]
    assert advance.evidence["given"]["gate"]["is_open"] is True
    advance.evidence["given"]["gate"]["is_open"] = False
    assert [d.what for d in replayed(rows_of(decisions)).differences] == ["hash", "event", "reason"]


async def test_the_url_is_in_no_decision_and_no_view():
    at = Gated()
    await at.harness.load(gated("http://127.0.0.1:1/hooks/7f3a9c"))
    await at.run(14)
    await at.keeper.close()
    assert "cannot be reached (connection refused)" in at.harness.rollout.waiting_for
    said = f"{await at.harness.decisions()} {at.harness.rollout} {at.harness.controller.state.held}"
    assert "7f3a9c" not in said


async def test_an_edit_adds_and_takes_away_a_gate():
    at = Gated()
    yaml = gated("http://127.0.0.1:1/")
    await at.harness.load(yaml)
    await at.run(14)
    assert at.harness.rollout.steps[0].gate and at.harness.rollout.step == 0
    await at.harness.load(with_rollouts(rollout_entry("v3", "5%", "50%")))
    await at.run(3)
    await at.keeper.close()
    assert at.harness.rollout.step == 1
    edited = [
        d.reason for d in await at.harness.decisions() if "gate of step 1" in d.reason and d.action != "gate"
    ]
    assert edited == ["gate of step 1: yes → no; nobody moves"]


async def test_an_answer_that_is_being_written_at_the_end_is_written_and_told(tmp_path: Path):
    hook, heard = Hook(503), list[Notice]()
    with gated_store(tmp_path) as store:
        async with listening(hook) as url:
            at = Gated(Harness(store))
            at.harness.controller.feed.on_event.append(heard.append)
            await at.harness.load(gated(url))
            await at.harness.run(12)
            store.gate.clear()
            at.keeper.look()
            await store.reach_gate()
            await at.keeper.close()
            store.gate.set()
            await until(lambda: any(getattr(each, "action", "") == "gate" for each in heard))
        assert [said for said, _ in await at.gates()] == ["UNDECIDED"]


async def test_a_go_that_cannot_be_written_does_not_count(monkeypatch: pytest.MonkeyPatch):
    async def refused(*arguments: object) -> bool:
        return False

    hook = Hook()
    async with listening(hook) as url:
        at = Gated()
        await at.harness.load(gated(url))
        monkeypatch.setattr(at.harness.controller, "record", refused)
        await at.run(15)
        await at.keeper.close()
    assert at.harness.rollout.step == 0 and len(hook.told) > 1
