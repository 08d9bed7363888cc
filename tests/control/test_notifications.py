"""Messages are told in order, at least once, by whatever process comes next, and no decision waits for them."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crossfade.config.problem import ConfigError
from crossfade.control import message_sender, notifications
from crossfade.control.kept_messages import Message, MessageRows
from crossfade.control.message_sender import GIVE_UP_AFTER, MessageSender
from crossfade.control.notifications import Notifications
from crossfade.control.store import Store
from crossfade.control.views import StatusChange, Verb
from crossfade.rollout.retraining import pause_after
from tests.control.gated_store import GatedStore
from tests.control.harness import CANARY, HEAD, Harness
from tests.control.receiver import Hook, listening, until

SECRET = "a secret of the webhook"
EVERYTHING = "[begin, advance, pause, resume, promote, abort, rollback, retry, restart, split, state]"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that there would have been."""
    found: list[float] = []

    def pause(attempt: int) -> float:
        found.append(pause_after(attempt))
        return 0.0

    monkeypatch.setattr(message_sender, "pause_after", pause)
    return found


@asynccontextmanager
async def sending(harness: Harness) -> AsyncIterator[MessageSender]:
    sender = MessageSender(harness.controller.notify)
    sender.begin("http://127.0.0.1:9901")
    try:
        yield sender
    finally:
        await sender.close()


def telling(url: str, on: str = EVERYTHING, more: str = "") -> str:
    return f"\nnotify: {{webhook: '{url}', name: ops, on: {on}{more}}}" + HEAD


def of_route(url: str, on: str = "abort") -> str:
    return f"{CANARY}    notify: {{webhook: '{url}', name: own, on: {on}}}\n"


async def loaded(yaml: str = CANARY, head: str = HEAD, store: Store | None = None) -> Harness:
    harness = Harness(store)
    await harness.load(yaml, head)
    return harness


async def command(harness: Harness, verb: Verb, route: str = "churn") -> None:
    await harness.controller.command(route, verb, "alice", harness.now)


def events(hook: Hook) -> list[str]:
    return [told["event"] for told in hook.told]


def waiting(harness: Harness) -> list[tuple[str, str]]:
    return [(m.receiver, m.event) for m in harness.controller.notify.all_waiting()]


def states_of(notify: Notifications) -> dict[str, tuple[int, str]]:
    """What waits at each receiver, and its last error."""
    return {view.name: (view.waiting, view.error) for view in notify.views()}


def told_of(notify: Notifications) -> tuple[int, int]:
    """Messages that were sent, and that wait."""
    return notify.counts()["sent"], len([*notify.all_waiting()])


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


# ── kept ──────────────────────────────────────────────────────────────────────────────────────────


async def test_what_waits_is_told_by_the_next_process(tmp_path: Path):
    hook = Hook(503)
    state = f"sqlite:{tmp_path / 'state.db'}"
    async with listening(hook) as url:
        first = await loaded(head=telling(url), store=Store.open(state))
        async with sending(first):
            await command(first, Verb.PAUSE)
            await command(first, Verb.ABORT)
            await until(lambda: hook.told)
            await first.tick()
        first.store.close()
        hook.answers, before = [200], hook.told[0]["id"]
        hook.bodies.clear()
        second = await loaded(head=telling(url), store=Store.open(state))
        assert waiting(second) == [("/ops", "pause"), ("/ops", "abort")]
        async with sending(second):
            await until(lambda: told_of(second.controller.notify) == (2, 0))
            await second.tick()
        second.store.close()
        assert events(hook) == ["pause", "abort"] and hook.told[0]["id"] == before
        third = await loaded(head=telling(url), store=Store.open(state))
        assert waiting(third) == []


async def test_a_process_that_died_before_it_saved_loses_no_message(tmp_path: Path):
    state = f"sqlite:{tmp_path / 'state.db'}"
    first = await loaded(head=telling("http://127.0.0.1:1/"), store=Store.open(state))
    await first.tick()  # from here on the state knows what was told
    await command(first, Verb.PAUSE)
    await command(first, Verb.ABORT)
    await first.controller.journal.idle()
    made = [m.id for m in first.controller.notify.all_waiting()]
    first.store.close()  # and no tick has saved them
    second = await loaded(head=telling("http://127.0.0.1:1/"), store=Store.open(state))
    assert [m.id for m in second.controller.notify.all_waiting()][-2:] == made[-2:]
    assert [event for _, event in waiting(second)][-2:] == ["pause", "abort"]


async def test_what_was_decided_before_there_was_a_receiver_is_not_told(tmp_path: Path):
    state = f"sqlite:{tmp_path / 'state.db'}"
    first = await loaded(store=Store.open(state))
    await command(first, Verb.ABORT)
    await first.tick()
    first.store.close()
    second = await loaded(head=telling("http://127.0.0.1:1/"), store=Store.open(state))
    await second.tick()
    assert waiting(second) == []
    second.store.close()
    third = await loaded(head=telling("http://127.0.0.1:1/"), store=Store.open(state))
    assert waiting(third) == []


async def test_a_decision_of_the_spool_is_told(tmp_path: Path):
    """It acted while the database could not be written, and the process died: the next one tells of it."""
    state = f"sqlite:{tmp_path / 'state.db'}"
    first = await loaded(head=telling("http://127.0.0.1:1/", "abort"), store=GatedStore.open(state))
    await first.tick()
    assert isinstance(first.store, GatedStore)
    first.store.broken = True
    await command(first, Verb.ABORT)
    first.store.close()
    second = await loaded(head=telling("http://127.0.0.1:1/", "abort"), store=Store.open(state))
    assert waiting(second) == [("/ops", "abort")]


async def test_that_the_state_cannot_be_written_is_told_though_it_cannot_be_kept(tmp_path: Path):
    hook = Hook()
    async with listening(hook) as url:
        store = GatedStore.open(f"sqlite:{tmp_path / 'state.db'}")
        assert isinstance(store, GatedStore)
        harness = await loaded(head=telling(url, "[state, abort]"), store=store)
        await harness.tick()
        async with sending(harness):
            store.broken = True
            await command(harness, Verb.ABORT)
            await harness.run(3)
            await until(lambda: len(hook.told) == 2)
            store.broken = False
            await harness.run(5)
            await until(lambda: len(hook.told) == 3)
            await harness.tick()
    assert sorted(events(hook)) == ["abort", "state", "state"]
    told = [told for told in hook.told if told["event"] == "state"]
    assert [told[0]["severity"], told[1]["severity"]] == ["error", "info"]
    assert store.messages().messages == []


def test_after_a_failed_write_all_are_written_again(tmp_path: Path):
    store = Store.open(f"sqlite:{tmp_path / 'state.db'}")
    old, new = (Message(str(n), "abort", "churn", 1.0, "error", "t", "d", number=n) for n in (1, 2))
    store.save_messages(MessageRows([old], [], 3))
    store.save_messages(MessageRows([new], None, 4))
    kept = store.messages()
    assert (kept.messages, kept.told, kept.untold) == ([new], 4, [])
    store.save_messages(MessageRows([], [], None))
    assert store.messages().told is None
    store.close()


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_message_is_tried_for_a_day_of_service():
    hook = Hook(503)
    async with listening(hook) as url:
        harness = await loaded(head=telling(url))
        await command(harness, Verb.ABORT)
        harness.serve(GIVE_UP_AFTER + 1)
        async with sending(harness):
            await until(lambda: harness.controller.notify.counts()["expired"])
    assert (len(hook.told), told_of(harness.controller.notify)) == (1, (0, 0))
    assert harness.controller.notify.views()[0].error == "tried for a day: the webhook answered 503: ok"


async def test_the_queue_is_bounded_and_the_oldest_of_the_longest_goes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notifications, "MAX_WAITING", 3)
    harness = await loaded(of_route("http://127.0.0.1:1/a"), telling("http://127.0.0.1:1/b"))
    await command(harness, Verb.PAUSE)
    await command(harness, Verb.RESUME)
    await command(harness, Verb.ABORT)
    assert waiting(harness) == [("/ops", "resume"), ("/ops", "abort"), ("churn/own", "abort")]
    assert harness.controller.notify.counts()["dropped"] == 1


async def test_a_message_that_is_dropped_while_it_is_sent_ends_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notifications, "MAX_WAITING", 1)
    hook = Hook()
    hook.hold.clear()
    async with listening(hook) as url:
        harness = await loaded(head=telling(url))
        async with sending(harness):
            await command(harness, Verb.PAUSE)
            await until(lambda: hook.bodies)
            await command(harness, Verb.ABORT)
            hook.hold.set()
            await until(lambda: told_of(harness.controller.notify) == (1, 0))
    assert harness.controller.notify.counts() == {
        "sent": 1, "retried": 0, "refused": 0, "expired": 0, "dropped": 1, "withdrawn": 0,
    }  # fmt: skip


# ── another file ──────────────────────────────────────────────────────────────────────────────────


async def test_a_receiver_that_leaves_the_file_is_told_nothing_more(tmp_path: Path):
    store = Store.open(f"sqlite:{tmp_path / 'state.db'}")
    harness = await loaded(head=telling("http://127.0.0.1:1/"), store=store)
    await command(harness, Verb.ABORT)
    await harness.load()
    assert (waiting(harness), harness.controller.notify.counts()["withdrawn"]) == ([], 1)
    await harness.tick()
    assert (store.messages().messages, store.messages().told) == ([], None)


async def test_another_url_under_the_same_name_gets_what_waits_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(message_sender, "pause_after", lambda attempt: 1e9)
    hook = Hook()
    async with listening(hook) as url:
        harness = await loaded(head=telling("http://127.0.0.1:1/"))
        async with sending(harness) as sender:
            await command(harness, Verb.ABORT)
            await until(lambda: harness.controller.notify.counts()["retried"])
            await harness.load(head=telling(url))
            sender.configure()
            await until(lambda: hook.told)
    assert events(hook) == ["abort"]


async def test_a_route_that_is_renamed_keeps_its_messages():
    yaml = of_route("http://127.0.0.1:1/")
    harness = await loaded(yaml)
    await command(harness, Verb.ABORT)
    await harness.load(yaml.replace("name: churn", "name: leaving\n    renamed_from: churn"))
    assert waiting(harness) == [("leaving/own", "abort")]


async def test_two_receivers_need_two_names():
    with pytest.raises(ConfigError, match='another receiver here is called "h" too'):
        await loaded(head="\nnotify: [{webhook: 'http://h/a'}, {webhook: 'http://h/b'}]" + HEAD)


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
