"""Messages that wait: they outlive their process, their number is bounded, and they follow the receivers of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossfade.config.problem import ConfigError
from crossfade.control import message_sender, notifications
from crossfade.control.kept_messages import Message, MessageRows
from crossfade.control.message_sender import GIVE_UP_AFTER
from crossfade.control.store import Store
from crossfade.control.views import Verb
from tests.control.gated_store import GatedStore
from tests.control.harness import HEAD
from tests.control.pauses import without_pauses
from tests.control.receiver import Hook, listening, until
from tests.control.telling import (
    command,
    events,
    loaded,
    of_route,
    sending,
    telling,
    told_of,
    waiting,
)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return without_pauses(monkeypatch, message_sender)


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
