"""Posts messages: each queue in order, again with growing pauses until its receiver has taken it, for a day.

Rule: one queue never waits for another. A day is one of served time: a message that waited while the proxy was down is still
tried. A message that its receiver can never take (`POISON`) does not stop those behind it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from crossfade.control.background import Background
from crossfade.control.kept_messages import Message
from crossfade.control.message_formats import body_of
from crossfade.control.notifications import Notifications, Queue, Receiver
from crossfade.control.webhook import Answer, Call, call, new_session
from crossfade.rollout.retraining import pause_after

log = logging.getLogger("crossfade.notify")

GIVE_UP_AFTER = 86_400.0  # seconds served
AT_ONCE = 4  # calls of one receiver, each of another route
POISON = (400, 410, 413, 415, 422)  # statuses that say that no attempt with this body will succeed


class MessageSender:
    """Make it in a running loop."""

    def __init__(self, notifications: Notifications) -> None:
        self.notifications = notifications
        self.dashboard = ""
        self.session = new_session()
        self.busy: set[Queue] = set()
        self.places: dict[str, asyncio.Semaphore] = {}  # by receiver
        self.changed = asyncio.Event()
        self._background = Background()

    def begin(self, dashboard: str) -> None:
        """What an earlier process has left, and all that comes. `dashboard`: its URL, if the file says no other."""
        self.dashboard = dashboard
        self.notifications.on_waiting = self._on_waiting
        self.notifications.send = self.post
        for queue in [*self.notifications.waiting]:
            self._on_waiting(queue)

    def configure(self) -> None:
        """Another file: perhaps with another URL, so all that pause try again."""
        self.changed.set()
        self.changed = asyncio.Event()
        self.places = {key: at for key, at in self.places.items() if key in self.notifications.receivers}

    async def close(self) -> None:
        """What is under way is cut off, and told again by the next process."""
        self.notifications.on_waiting = lambda queue: None
        self.notifications.send = None
        tasks = set(self._background.tasks)
        self._background.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.session.close()

    def _on_waiting(self, queue: Queue) -> None:
        if queue not in self.busy:
            self.busy.add(queue)
            self._background.spawn(self._until_empty(queue))

    async def _until_empty(self, queue: Queue) -> None:
        try:
            while (message := self.notifications.first(queue)) is not None:
                await self._until_ended(message)
        finally:
            self.busy.discard(queue)

    async def _until_ended(self, message: Message) -> None:
        """Returns when it is the first of its queue no more."""
        attempt, queue = 0, Queue(message.receiver, message.route)
        while self.notifications.first(queue) is message:
            receiver = self.notifications.receivers[message.receiver]
            places = self.places.setdefault(receiver.key, asyncio.Semaphore(AT_ONCE))
            async with places:
                answer = await self.post(message, receiver)
            attempt += 1
            age = self.notifications.state.served - message.served
            if answer.is_success:
                self.notifications.ended(message, "sent", answer.detail)
            elif answer.status in POISON:
                self.notifications.ended(message, "refused", answer.detail)
            elif age >= GIVE_UP_AFTER:
                self.notifications.ended(message, "expired", f"tried for a day: {answer.detail}")
            else:
                log.warning("%s, attempt %d: %s", message.receiver, attempt, answer.detail)
                self.notifications.tried(message, answer.detail)
                await self._pause(max(pause_after(attempt), answer.retry_after))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.changed.wait()

    async def post(self, message: Message, receiver: Receiver) -> Answer:
        config = receiver.config
        found = self.notifications.state.config.config.admin.external_url or self.dashboard
        body = body_of(message, config, found.rstrip("/"))
        what = Call(config.webhook, body, message.id, int(time.time()), config.secret)
        return await call(self.session, what, config.timeout)
