"""The event feed: subscribers get decisions and changes of status, and nobody waits for them.

Rule: a subscription is bounded and drops its oldest event when its reader is slow. No decision is lost by
that: the journal has them all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from crossfade.control.views import Decision, StatusChange
from crossfade.log_lines import facts
from crossfade.rollout.machine import Event

log = logging.getLogger("crossfade.control")

MAX_EVENTS = 256  # of one subscription

Notice = Decision | StatusChange


class Subscription:
    """An async iterator of events; it ends when closed. Leaving its `with` block closes it."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.waiting: deque[Notice] = deque(maxlen=MAX_EVENTS)
        self.changed = asyncio.Event()
        self.closed = False

    def put(self, event: Notice) -> None:
        self.waiting.append(event)
        self.changed.set()

    def close(self) -> None:
        self.closed = True
        self.feed.subscriptions.discard(self)
        self.changed.set()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Notice:
        while not self.waiting:
            if self.closed:
                raise StopAsyncIteration
            self.changed.clear()
            await self.changed.wait()
        return self.waiting.popleft()


def _facts_of(decision: Decision) -> dict[str, Any]:
    """The decision without its evidence, which the journal has."""
    return facts(
        "decision",
        decision=decision.id,
        route=decision.route,
        action=decision.action,
        actor=decision.actor,
        reason=decision.reason,
        ledger_version=decision.ledger_version,
        config_hash=decision.config_hash,
        **{"from": decision.from_, "to": decision.to},
    )


class Feed:
    def __init__(self) -> None:
        self.subscriptions: set[Subscription] = set()
        self.on_event: list[Callable[[Notice], None]] = []  # who hears each one at once, and none is dropped

    def subscribe(self) -> Subscription:
        subscription = Subscription(self)
        self.subscriptions.add(subscription)
        return subscription

    def publish(self, event: Notice) -> None:
        for hear in self.on_event:
            hear(event)
        for subscription in self.subscriptions:
            subscription.put(event)

    def tell(self, decisions: Sequence[Decision]) -> None:
        """Decisions that are in force, to subscribers and to the log."""
        for decision in decisions:
            level = logging.WARNING if decision.action == Event.NO_WAY_BACK else logging.INFO
            place = decision.route or " ".join(str(decision.to[key]) for key in ("backend", "endpoint"))
            said = place, decision.action, decision.actor, decision.reason
            log.log(level, "%s: %s by %s: %s", *said, extra=_facts_of(decision))
            self.publish(decision)

    def warn(self, at: float, kind: str, detail: str, route: str | None = None) -> None:
        """A change of status, to subscribers and to the log. `at`: wall time."""
        log.warning("%s: %s", kind, detail, extra=facts(kind, route=route, detail=detail))
        self.publish(StatusChange(at, kind, route, detail, ok=False))
