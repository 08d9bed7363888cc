"""Messages are told in order, at least once, and no decision waits for them."""

from __future__ import annotations

import hashlib
import hmac
import time

import pytest

from crossfade.control import message_sender
from crossfade.control.message_sender import MessageSender
from crossfade.control.views import StatusChange, Verb
from tests.control.harness import CANARY, HEAD
from tests.control.pauses import without_pauses
from tests.control.receiver import Hook, listening, until
from tests.control.telling import (
    SECRET,
    command,
    events,
    loaded,
    of_route,
    sending,
    states_of,
    telling,
    told_of,
    waiting,
)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return without_pauses(monkeypatch, message_sender)


async def test_decisions_are_told_in_order_signed_and_with_a_link():
    hook = Hook()
    async with listening(hook) as url:
        harness = await loaded(head=telling(url, more=f", secret: {SECRET}"))
        async with sending(harness):
            await harness.run(2)
            for verb in (Verb.PAUSE, Verb.RESUME, Verb.ABORT):
                await command(harness, verb)
            await until(lambda: told_of(harness.controller.notify) == (4, 0))
    assert events(hook) == ["begin", "pause", "resume", "abort"]
    abort, headers = hook.told[-1], hook.headers[-1]
    (decision,) = [d for d in await harness.decisions() if d.action == "abort"]
    assert (abort["decision"], abort["actor"], abort["detail"]) == (decision.id, "alice", "abort by alice")
    assert abort["link"] == f"http://127.0.0.1:9901/#/route/churn/decision/{decision.id}"
    assert headers["idempotency-key"] == abort["id"]
    at, digest = (part.partition("=")[2] for part in headers["x-crossfade-signature"].split(","))
    assert abs(int(at) - time.time()) < 60
    assert (
        digest == hmac.new(SECRET.encode(), f"{at}.".encode() + hook.bodies[-1], hashlib.sha256).hexdigest()
    )


async def test_links_lead_to_the_url_that_the_file_names():
    hook = Hook()
    async with listening(hook) as url:
        head = telling(url) + "admin: {external_url: 'https://crossfade.example.com/'}\n"
        harness = await loaded(head=head)
        async with sending(harness):
            await command(harness, Verb.ABORT)
            await until(lambda: hook.told)
    assert hook.told[0]["link"].startswith("https://crossfade.example.com/#/route/churn/decision/")


async def test_an_abort_of_the_health_loop_is_told():
    hook = Hook()
    async with listening(hook) as url:
        harness = await loaded(head=telling(url, "[promote, abort]"))
        harness.error_share["v3"] = 0.5
        async with sending(harness):
            await harness.run(10)
            await until(lambda: hook.told)
    assert hook.told[0]["severity"] == "error"
    assert "error_rate" in hook.told[0]["detail"]


async def test_a_failure_is_tried_again_with_the_same_id_and_stops_those_behind_it(pauses: list[float]):
    hook = Hook(503, 404, 302, 200)
    async with listening(hook) as url:
        harness = await loaded(head=telling(url))
        async with sending(harness):
            await command(harness, Verb.PAUSE)
            await command(harness, Verb.ABORT)
            await until(lambda: told_of(harness.controller.notify) == (2, 0))
    assert events(hook) == ["pause", "pause", "pause", "pause", "abort"]
    assert len({told["id"] for told in hook.told}) == 2
    assert pauses == [1.0, 2.0, 4.0]
    assert harness.controller.notify.counts()["retried"] == 3
    assert harness.controller.notify.views()[0].error == ""


async def test_a_receiver_that_wants_a_pause_gets_it(monkeypatch: pytest.MonkeyPatch):
    asked: list[float] = []

    async def pause(sender: MessageSender, seconds: float) -> None:
        asked.append(seconds)
        hook.answers = [200]

    monkeypatch.setattr(MessageSender, "_pause", pause)
    hook = Hook(429)
    hook.more["Retry-After"] = "30"
    async with listening(hook) as url:
        harness = await loaded(head=telling(url))
        async with sending(harness):
            await command(harness, Verb.ABORT)
            await until(lambda: told_of(harness.controller.notify) == (1, 0))
    assert asked == [30.0]


async def test_a_message_that_no_receiver_can_take_does_not_stop_those_behind_it(
    caplog: pytest.LogCaptureFixture,
):
    hook = Hook(400, 200)
    hook.text = "invalid_payload"
    async with listening(hook) as url:
        harness = await loaded(head=telling(url))
        async with sending(harness):
            await command(harness, Verb.PAUSE)
            await command(harness, Verb.ABORT)
            await until(lambda: told_of(harness.controller.notify) == (1, 0))
    assert events(hook) == ["pause", "abort"]
    assert harness.controller.notify.counts()["refused"] == 1
    assert "/ops is not told of churn: pause of v3: the webhook answered 400: invalid_payload" in caplog.text


async def test_nobody_says_the_url(caplog: pytest.LogCaptureFixture):
    harness = await loaded(head=telling("http://127.0.0.1:1/hooks/7f3a9c"))
    async with sending(harness):
        await command(harness, Verb.ABORT)
        await until(lambda: harness.controller.notify.counts()["retried"] > 2)
    said = caplog.text + str(harness.controller.notify.views()) + str(await harness.decisions())
    assert "cannot be reached" in caplog.text and "7f3a9c" not in said


async def test_a_receiver_that_fails_stops_no_other():
    broken, sound = Hook(500), Hook()
    async with listening(broken) as bad, listening(sound) as good:
        head = f"\nnotify: [{{webhook: '{bad}', name: bad, on: abort}}, {{webhook: '{good}', name: good, on: abort}}]"
        harness = await loaded(head=head + HEAD)
        async with sending(harness):
            await command(harness, Verb.ABORT)
            await until(lambda: states_of(harness.controller.notify) == {
                "bad": (1, "the webhook answered 500: ok"), "good": (0, ""),
            })  # fmt: skip
            assert [told["event"] for told in sound.told] == ["abort"]
            assert waiting(harness) == [("/bad", "abort")]


async def test_a_receiver_of_a_route_is_told_of_this_route_only():
    hook = Hook()
    async with listening(hook) as url:
        yaml = CANARY + "  - {name: other, match: {prefix: /other}, split: {v2: 1, v4: 1}}\n"
        harness = await loaded(yaml.replace("    rollout:", f"    notify: {{webhook: '{url}', on: [split, abort]}}\n    rollout:"))  # fmt: skip
        async with sending(harness):
            await harness.controller.set_split("other", {"v2": 1, "v4": 3}, "alice", harness.now)
            await command(harness, Verb.ABORT)
            await until(lambda: hook.told)
    assert [(told["route"], told["event"]) for told in hook.told] == [("churn", "abort")]


async def test_no_decision_waits_for_a_receiver_that_does_not_answer():
    hook = Hook()
    hook.hold.clear()
    async with listening(hook) as url:
        harness = await loaded(head=telling(url))
        async with sending(harness):
            await harness.run(2)
            await command(harness, Verb.PAUSE)
            await until(lambda: hook.bodies)
            await command(harness, Verb.ABORT)
            assert harness.weights == {"v2": 10_000}
    assert events(hook) == ["begin"]


# ── tests of receivers ────────────────────────────────────────────────────────────────────────────


async def test_an_operator_sees_whether_a_message_arrives():
    hook = Hook()
    async with listening(hook) as url:
        harness = await loaded(of_route("http://127.0.0.1:1/"), telling(url))
        found = await harness.controller.notify.test("", "alice")
        assert [(each.arrived, each.detail) for each in found] == [(False, "nothing is sent now")] * 2
        async with sending(harness):
            every = await harness.controller.notify.test("", "alice")
            own = await harness.controller.notify.test("churn", "alice")
    assert [(each.name, each.route, each.arrived) for each in every] == [
        ("ops", None, True),
        ("own", "churn", False),
    ]
    assert [each.name for each in own] == ["ops", "own"]
    assert every[1].detail == "the webhook cannot be reached (connection refused)"
    assert [(told["event"], told["route"]) for told in hook.told] == [("test", None), ("test", "churn")]
    assert waiting(harness) == []


async def test_a_mirror_that_is_silent_is_told_to_its_route():
    harness = await loaded(of_route("http://127.0.0.1:1/", "mirror"))
    harness.controller.feed.warn(harness.now, "mirror", "nothing was mirrored", "churn")
    harness.controller.feed.warn(harness.now, "mirror", "nothing was mirrored", "another")
    harness.controller.feed.publish(StatusChange(harness.now, "config", None, "loaded by file"))
    assert waiting(harness) == [("churn/own", "mirror")]
