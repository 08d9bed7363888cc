"""Orders to train a route's model again: given once, on disk before anybody is told, and ended once.

Rule: an order and its end are decisions of the journal that change no traffic, and the state of all orders is written with them,
in one transaction. So no crash gives an order twice or loses one. Whoever trains may be told again of an order whose end is
not on disk, always with the same id. `control/retrain_runner` does the telling.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from crossfade.config.model import Config
from crossfade.config.retrain import RetrainConfig
from crossfade.control.background import Background
from crossfade.control.change import LOOP, Cause, draft_of
from crossfade.control.controller_state import ControllerState
from crossfade.control.journal import Journal
from crossfade.control.journal_entry import Entry
from crossfade.control.refusal import Refused, UnknownName
from crossfade.control.views import Decision, OrderView, RetrainView
from crossfade.rollout.retraining import (
    OPERATOR,
    SCHEDULE,
    Order,
    Retraining,
    RetrainRule,
    cooldown_left,
    ended,
    ordered,
    refusal,
    schedule_left,
)

log = logging.getLogger("crossfade.retrain")

RETRAIN = "retrain"  # the action of an order
ENDS = {"succeeded": "retrained", "failed": "retrain_failed", "withdrawn": "retrain_withdrawn"}
OUTCOMES = ("ordered", "suppressed", "retried", *ENDS)
MAX_EVIDENCE = 65_536  # bytes as JSON


class Job(NamedTuple):
    """An order under way, and who gets it. `version`: of the champion, as the file has it. `horizon`: of the route's labels, in seconds."""

    route: str
    order: Order
    config: RetrainConfig
    champion: str | None
    version: str | None
    horizon: float | None


class Attempt(msgspec.Struct):
    """How the last attempt at an order went. `number` is from 1; `detail`: why it did not succeed."""

    number: int
    detail: str


class Retrainings:
    """`tell`: of decisions. `on_order` is called with the route of each order, once it is on disk."""

    def __init__(
        self, state: ControllerState, journal: Journal, tell: Callable[[Sequence[Decision]], None]
    ) -> None:
        self.state, self.journal, self.tell = state, journal, tell
        self.held = journal.store.retrainings()
        self.saved = dict(self.held)  # what the database has, as far as is known
        self.on_order: Callable[[str], None] = lambda route: None
        self.attempts: dict[str, Attempt] = {}  # by route, of the order under way
        self.counted: Counter[tuple[str, str]] = Counter()  # (route, outcome), since the start
        self._waiting: dict[str, tuple[str, Any]] = {}  # by route: an occasion that could not be written
        self._ordering: set[str] = set()  # routes whose order is being written
        self._changing = asyncio.Lock()
        self._background = Background()

    # ── occasions ─────────────────────────────────────────────────────────────────────────────

    def trigger(self, route: str, reason: str, evidence: Any) -> bool:
        """An occasion, such as `data_drift`. Whether an order is given; it is written in the background.

        `evidence`: JSON values. Whoever calls may do so again while the occasion lasts.
        """
        found = self._rule(route)
        if found is None or route in self._ordering:
            return False
        _, rule = found
        if refusal(self._of(route), rule, reason, self.state.served):
            self.counted[route, "suppressed"] += reason in rule.drifts
            return False
        self._begin(route, reason, evidence)
        return True

    def look(self) -> None:
        """At each tick: schedules, orders that no configuration knows any more, and what is not on disk yet."""
        for route in [*self._waiting]:
            if route not in self._ordering and self.journal.ok:
                self._begin(route, *self._waiting.pop(route))
        for route in self.state.routes:
            found = self._rule(route)
            if found is None or route in self._ordering:
                continue
            _, rule = found
            held = self._of(route)
            if schedule_left(held, rule, self.state.served) == 0 and not refusal(
                held, rule, SCHEDULE, self.state.served
            ):
                self._begin(route, SCHEDULE, {"every": rule.schedule})
        self._forget_gone()
        if not self.journal.ok:
            self.saved = {}  # perhaps not even what was being written
        elif self.held != self.saved and self.journal.save_retrainings(encoded(self.held)):
            self.saved = dict(self.held)

    async def order(self, route: str, actor: str, reason: str = "") -> RetrainView:
        """By an operator. Returns when the order is on disk. Raises UnknownName or Refused."""
        self.state.route(route)
        if self._rule(route) is None:
            raise Refused(f"route {route} has no retrain in the file, so nobody is told")
        work = self._give(route, OPERATOR, {"text": reason} if reason else None, actor)
        await asyncio.shield(self._background.task(work))
        return self.view(route)

    def _begin(self, route: str, reason: str, evidence: Any) -> None:
        self._ordering.add(route)
        self._background.spawn(self._give_later(route, reason, evidence))

    async def _give_later(self, route: str, reason: str, evidence: Any) -> None:
        """An occasion that cannot be written waits for the disk."""
        try:
            await self._give(route, reason, evidence, LOOP)
        except _NotWritten:
            self._waiting[route] = reason, evidence
        except (Refused, UnknownName) as error:  # another order came first, or another file
            log.info("%s: %s gives no order: %s", route, reason, error)
        finally:
            self._ordering.discard(route)

    async def _give(self, route: str, reason: str, evidence: Any, actor: str) -> None:
        async with self._changing:
            found = self._rule(route)
            if found is None:
                raise UnknownName(f"route {route} has no retrain")
            _, rule = found
            if why := refusal(self._of(route), rule, reason, self.state.served):
                raise Refused(f"the model of {route} is not ordered again: {why}")
            after = ordered(self._of(route), reason, bounded(evidence), self.state.served, self.state.wall)
            assert after.order is not None
            draft = self._draft(route, RETRAIN, actor, _in_words(after.order))
            draft.to, draft.evidence = {"order": after.order.id}, {"occasion": after.order.evidence}
            await self._write(route, draft, after)
            self.attempts.pop(route, None)
            self.counted[route, "ordered"] += 1
        self.on_order(route)

    # ── ends ──────────────────────────────────────────────────────────────────────────────────

    async def end(self, route: str, order: str, outcome: str, detail: str, answer: Any = None) -> bool:
        """Whether the end is on disk. `outcome`: one of ENDS. An order that is not under way any more has ended."""
        async with self._changing:
            held = self.held.get(route)
            if held is None or held.order is None or held.order.id != order:
                return True
            after = ended(held, outcome, detail, self.state.wall, bounded(answer))
            draft = self._draft(route, ENDS[outcome], LOOP, f"order {order} {outcome}: {detail}")
            draft.from_, draft.to = {"order": order}, {"order": order}
            draft.evidence = {"attempts": self._attempts_of(route), "answer": bounded(answer)}
            try:
                await self._write(route, draft, after)
            except _NotWritten:
                return False
            self.attempts.pop(route, None)
            self.counted[route, outcome] += 1
        return True

    def tried(self, route: str, number: int, detail: str) -> None:
        """An attempt did not succeed, and another one follows."""
        self.attempts[route] = Attempt(number, detail)
        self.counted[route, "retried"] += 1

    def job(self, route: str) -> Job | None:
        """The order under way, by the configuration of now; None if there is none."""
        held, found = self.held.get(route), self._rule(route)
        if held is None or held.order is None or found is None:
            return None
        at = self.state.route(route)
        backend = self.state.config.config.backends.get(at.champion or "")
        version = None if backend is None else backend.version or backend.registry
        horizon = None if at.config.feedback is None else at.config.feedback.horizon
        return Job(route, held.order, found[0], at.champion, version, horizon)

    def _forget_gone(self) -> None:
        """An order of a route that has no `retrain` any more is withdrawn; then nothing is kept of the route."""
        for route, held in list(self.held.items()):
            if self._rule(route) is not None or route in self._ordering:
                continue
            if held.order is None:
                del self.held[route]
            elif self.journal.ok:
                self._ordering.add(route)
                self._background.spawn(self._withdraw(route, held.order.id))

    async def _withdraw(self, route: str, order: str) -> None:
        try:
            await self.end(route, order, "withdrawn", "the file has no retrain for this route any more")
        finally:
            self._ordering.discard(route)

    # ── what is held ──────────────────────────────────────────────────────────────────────────

    def accept(self, config: Config) -> None:
        """A configuration was loaded: a route that was renamed keeps its orders, and schedules of new ones begin."""
        for route in config.split_routes:
            if route.retrain is None:
                continue
            former = self.held.get(route.renamed_from or "")
            if former is not None and route.name not in self.held:
                self.held[route.name] = former
                del self.held[route.renamed_from or ""]
            self.held.setdefault(route.name, Retraining(self.state.served))

    def views(self) -> list[RetrainView]:
        """Of the routes that have `retrain`, in the order of the file."""
        return [self.view(route) for route in self.state.routes if self._rule(route) is not None]

    def counts(self) -> dict[tuple[str, str], int]:
        """By route and outcome, zeros included."""
        routes = [route for route in self.state.routes if self._rule(route) is not None]
        return {(route, outcome): self.counted[route, outcome] for route in routes for outcome in OUTCOMES}

    def view(self, route: str) -> RetrainView:
        found = self._rule(route)
        assert found is not None
        _, rule = found
        held, now = self._of(route), self.state.served
        return RetrainView(
            route=route,
            on=sorted(rule.drifts | ({SCHEDULE} if rule.schedule is not None else set())),
            cooldown_left=cooldown_left(held, rule, now),
            schedule_left=schedule_left(held, rule, now),
            order=None if held.order is None else self._order_view(route, held.order),
            last=held.last,
        )

    def _order_view(self, route: str, order: Order) -> OrderView:
        attempt = self.attempts.get(route, Attempt(0, ""))
        return OrderView(order.id, order.reason, order.at, attempt.number, attempt.detail)

    def _attempts_of(self, route: str) -> int:
        """The last one counts too; it did not come to `tried`."""
        return self.attempts.get(route, Attempt(0, "")).number + 1

    def _of(self, route: str) -> Retraining:
        return self.held.get(route) or Retraining(self.state.served)

    def _rule(self, route: str) -> tuple[RetrainConfig, RetrainRule] | None:
        """None if the configuration does not say who trains the model of this route."""
        found = self.state.routes.get(route)
        config = None if found is None else found.config.retrain
        if config is None:
            return None
        return config, RetrainRule(config.drifts, config.schedule, config.cooldown, config.attempts)

    def _draft(self, route: str, action: str, actor: str, reason: str) -> Decision:
        config = self.state.config
        cause = Cause(actor, reason, self.state.served, config.hash, self.state.wall)
        return draft_of(route, action, cause, (None, None), {})

    async def _write(self, route: str, draft: Decision, after: Retraining) -> None:
        """Raises _NotWritten; then nothing has changed."""
        held = self.held | {route: after}
        decisions = await self.journal.write_first([Entry(draft, None, retrainings=encoded(held))])
        if decisions is None:
            raise _NotWritten(f"the model of {route} is not ordered again: {self.journal.error}")
        self.held[route] = after
        self.saved = dict(held)
        self.tell(decisions)

    async def idle(self) -> None:
        await self._background.idle()


class _NotWritten(Refused):
    """The state cannot be written."""


def encoded(held: Mapping[str, Retraining]) -> str:
    return msgspec.json.encode(held).decode()


def bounded(evidence: Any) -> Any:
    """As JSON values; what is too large for a decision is left out, and that is said."""
    text = msgspec.json.encode(evidence)
    if len(text) > MAX_EVIDENCE:
        return {"too_large": len(text)}
    return msgspec.json.decode(text)


def _in_words(order: Order) -> str:
    """With what an alarm or an operator said."""
    evidence = order.evidence if isinstance(order.evidence, dict) else {}
    said = evidence.get("detail") or evidence.get("text")
    return f"{order.reason} gives order {order.id}" + (f": {said}" if isinstance(said, str) else "")
