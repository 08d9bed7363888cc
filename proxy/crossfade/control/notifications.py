"""Messages that wait to be told: made from what the feed says, kept with the state, in order for each route and receiver.

Rule: no decision waits for a message. The queue is in memory and in the database, which has the number of the last decision that
messages were made of; it never names one that the journal lacks. So after a crash the next start makes what is missing, with
the same ids: each message is told at least once, by `message_sender`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from secrets import token_hex
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.config.model import Config
from crossfade.config.notify import NotifyConfig
from crossfade.control.background import Background
from crossfade.control.controller_state import ControllerState
from crossfade.control.journal import Journal
from crossfade.control.kept_messages import KeptMessages, Message, MessageRows, row_of
from crossfade.control.messages import message_of, message_of_change, message_of_test
from crossfade.control.subscription import Notice
from crossfade.control.views import Decision
from crossfade.control.webhook import Answer

log = logging.getLogger("crossfade.notify")

MAX_WAITING = 2_000  # messages in all; above it the oldest of the longest queue is dropped
OUTCOMES = ("sent", "retried", "refused", "expired", "dropped", "withdrawn")


class Receiver(NamedTuple):
    """`key`: `ROUTE/NAME`, or `/NAME` for those of the whole file. `route`: "" for all routes and the proxy."""

    key: str
    route: str
    config: NotifyConfig


class Queue(NamedTuple):
    """What one receiver is told of one route, in order."""

    receiver: str
    route: str


class ReceiverView(msgspec.Struct):
    """`route`: null for a receiver of the whole file. `oldest`: wall time of the oldest message that waits. `error`: of the last attempt."""

    name: str
    route: str | None
    format: str
    on: list[str]
    waiting: int
    oldest: float | None
    error: str


class Tested(msgspec.Struct):
    """Whether a test message arrived, or why not."""

    name: str
    route: str | None
    arrived: bool
    detail: str


def receivers_of(config: Config) -> dict[str, Receiver]:
    found = [Receiver(f"/{each.title}", "", each) for each in config.notify]
    found += [
        Receiver(f"{route.name}/{each.title}", route.name, each)
        for route in config.routes
        for each in route.notify
    ]
    return {receiver.key: receiver for receiver in found}


class Notifications:
    """`on_waiting` is called with each queue that has a message more. `send`: posts one message."""

    def __init__(self, state: ControllerState, journal: Journal) -> None:
        self.state, self.journal = state, journal
        self.kept: KeptMessages | None = journal.store.messages()  # until the first configuration is there
        self.receivers: dict[str, Receiver] = {}
        self.waiting: dict[Queue, deque[Message]] = {}
        self.counted: Counter[str] = Counter()  # by outcome, since the start
        self.errors: dict[str, str] = {}  # by receiver, of the last attempt
        self.on_waiting: Callable[[Queue], None] = lambda queue: None
        self.send: Callable[[Message, Receiver], Awaitable[Answer]] | None = None
        self.number = 0
        self.told: int | None = None  # the last decision that messages were made of; None without receivers
        self._saved: set[int] | None = set()  # numbers; None: not known
        self._changes = self._saved_changes = 0  # since the start, and those that were saved
        self._saving = False
        self._background = Background()

    # ── what happens ──────────────────────────────────────────────────────────────────────────

    def hear(self, notice: Notice) -> None:
        """Of the feed."""
        if not self.receivers:
            return
        if isinstance(notice, Decision):
            self.told = max(notice.id, self.told or 0)
            self._changes += 1
            message = message_of(notice)
        else:
            message = message_of_change(notice, token_hex(16))
        if message is not None:
            self._tell(message)

    def _tell(self, message: Message) -> None:
        for receiver in self.receivers.values():
            if receiver.route in ("", message.route) and message.event in receiver.config.on:
                self._add(self._numbered(message, receiver.key, self.state.served))
        while sum(map(len, self.waiting.values())) > MAX_WAITING:
            longest = max(self.waiting.values(), key=len)
            self._end(longest[0], "dropped")

    def _numbered(self, message: Message, receiver: str, served: float) -> Message:
        self.number += 1
        return replace(message, receiver=receiver, number=self.number, served=served)

    def _add(self, message: Message) -> None:
        queue = Queue(message.receiver, message.route)
        self.waiting.setdefault(queue, deque()).append(message)
        self._changes += 1
        self.on_waiting(queue)

    # ── what becomes of it ────────────────────────────────────────────────────────────────────

    def first(self, queue: Queue) -> Message | None:
        found = self.waiting.get(queue)
        return found[0] if found else None

    def tried(self, message: Message, detail: str) -> None:
        """Without success; it is tried again."""
        self.counted["retried"] += 1
        self.errors[message.receiver] = detail

    def ended(self, message: Message, outcome: str, detail: str) -> None:
        """`outcome`: one of OUTCOMES."""
        if outcome == "sent":
            self.errors.pop(message.receiver, None)
        else:
            self.errors[message.receiver] = detail
            log.error("%s is not told of %s: %s", message.receiver, message.title, detail)
        self._end(message, outcome)

    def _end(self, message: Message, outcome: str) -> None:
        """One that was dropped while it was under way has ended already."""
        queue = Queue(message.receiver, message.route)
        found = self.waiting.get(queue)
        if found is None or message not in found:
            return
        found.remove(message)
        self.counted[outcome] += 1
        self._changes += 1
        if not found:
            del self.waiting[queue]

    async def test(self, route: str, who: str) -> list[Tested]:
        """Tells each receiver of this route, or all if it is "", that this is a test. Raises UnknownName."""
        if route:
            self.state.route(route)
        asked = [each for each in self.receivers.values() if not route or each.route in ("", route)]
        return list(await asyncio.gather(*(self._tested(each, route, who) for each in asked)))

    async def _tested(self, receiver: Receiver, route: str, who: str) -> Tested:
        message = message_of_test(token_hex(16), self.state.wall, route or receiver.route, who)
        answer = await self.send(message, receiver) if self.send else Answer(None, "nothing is sent now")
        return Tested(receiver.config.title, receiver.route or None, answer.is_success, answer.detail)

    # ── configuration ─────────────────────────────────────────────────────────────────────────

    def accept(self, config: Config) -> None:
        """A configuration was loaded. A message of a receiver that is gone is withdrawn; a route that was renamed keeps its own."""
        self.receivers = receivers_of(config)
        if self.kept is not None:
            self._take_over(self.kept)
            self.kept = None
        for route in config.routes:
            if route.renamed_from:
                self._rename(f"{route.renamed_from}/", f"{route.name}/")
        for message in [*self.all_waiting()]:
            if message.receiver not in self.receivers:
                log.warning("%s is not told of %s: the file does not have it any more", message.receiver, message.title)  # fmt: skip
                self._end(message, "withdrawn")
        self.errors = {key: text for key, text in self.errors.items() if key in self.receivers}
        before, self.told = self.told, self.told if self.told is not None else self.journal.number
        if not self.receivers:
            self.told = None
        self._changes += self.told != before

    def _take_over(self, kept: KeptMessages) -> None:
        """What the process before has left, and messages of decisions that it had no time to make."""
        self.told = kept.told
        self._saved = {message.number for message in kept.messages}
        self.number = max(self._saved, default=0)
        for message in kept.messages:
            self._add(message)
        owed = [sealed.decision for sealed in self.journal.owed if sealed.decision.id > (kept.told or 0)]
        for decision in (*kept.untold, *owed) if kept.told is not None else ():
            self.hear(decision)

    def _rename(self, before: str, after: str) -> None:
        """Only while the file has no receivers under the name before."""
        for queue in [*self.waiting]:
            key = after + queue.receiver.removeprefix(before)
            if queue.receiver.startswith(before) and queue.receiver not in self.receivers:
                for message in self.waiting.pop(queue):
                    self._add(self._numbered(message, key, message.served))

    # ── on disk ───────────────────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """At each tick: save what has changed, once the journal has the decisions that it is about."""
        if self._changes != self._saved_changes and self._can_save():
            self._saving = True
            self._background.spawn(self._save())

    def _can_save(self) -> bool:
        return self.kept is None and self.journal.ok and not (self._saving or self.journal.owed)

    async def _save(self) -> None:
        changes, saved = self._changes, self._saved
        numbers = {message.number for message in self.all_waiting()}
        new = [each for each in self.all_waiting() if saved is None or each.number not in saved]
        gone = None if saved is None else [(row_of(number),) for number in saved - numbers]
        try:
            written = await self.journal.save_messages(MessageRows(new, gone, self.told))
            self._saved = numbers if written else None
            self._saved_changes = changes if written else -1
        finally:
            self._saving = False

    async def save(self) -> None:
        """At the end: what is not saved yet."""
        await self._background.idle()
        self.look()
        await self._background.idle()

    def all_waiting(self) -> Iterator[Message]:
        for queue in self.waiting.values():
            yield from queue

    def views(self) -> list[ReceiverView]:
        """In the order of the file, those of the whole file first."""
        waiting: dict[str, list[Message]] = {}
        for message in self.all_waiting():
            waiting.setdefault(message.receiver, []).append(message)
        return [
            ReceiverView(
                name=each.config.title,
                route=each.route or None,
                format=each.config.format,
                on=list(each.config.on),
                waiting=len(waiting.get(key, ())),
                oldest=min((message.at for message in waiting.get(key, ())), default=None),
                error=self.errors.get(key, ""),
            )
            for key, each in self.receivers.items()
        ]

    def counts(self) -> dict[str, int]:
        """By outcome, zeros included."""
        return {outcome: self.counted[outcome] for outcome in OUTCOMES}

    async def idle(self) -> None:
        await self._background.idle()
