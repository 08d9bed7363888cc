"""Controllers that tell receivers of what happens, and what has been told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crossfade.control.message_sender import MessageSender
from crossfade.control.notifications import Notifications
from crossfade.control.store import Store
from crossfade.control.views import Verb
from tests.control.harness import CANARY, HEAD, Harness
from tests.control.receiver import Hook

SECRET = "a secret of the webhook"
EVERYTHING = "[begin, advance, pause, resume, promote, abort, rollback, retry, restart, split, state]"


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
