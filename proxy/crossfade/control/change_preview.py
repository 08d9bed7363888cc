"""What a command would do, before anybody does it: who moves, what is in flight, and why it would be refused.

Rule: the change is made by the same functions as the command makes it by, and then thrown away. So a preview and the command
behind it differ only by what happens between the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from crossfade.control.change import Cause, Change, change_by_event, change_of_split
from crossfade.control.change_words import sentence_of
from crossfade.control.controller_state import ControllerState
from crossfade.control.journal import Journal
from crossfade.control.receivers import allowed
from crossfade.control.refusal import Refused
from crossfade.control.seam import Seam
from crossfade.control.split_request import requested_weights
from crossfade.control.views import Verb
from crossfade.rollout.machine import Event, NotAllowedError, RolloutState
from crossfade.routing.ledger import BUCKETS, Ledger
from crossfade.scale import WHOLE

ARROW = "→"


class Moved(msgspec.Struct):
    """Buckets whose backend changes; `share` of all of the route. `of`: by `from→to`."""

    buckets: int
    share: float
    of: dict[str, int]


class ChangePreview(msgspec.Struct):
    """What a command would do now. `allowed`: whether it would be done; if not, `refusal` says why.

    `from` and `to`: splits as fractions. `in_flight`: requests of each backend that gets less than before, on all of its routes.
    `phase` and `step`: of the rollout behind the change; null where a route has none. `sentence`: all of it for people.
    """

    route: str
    action: str
    allowed: bool
    refusal: str
    from_: dict[str, float] = msgspec.field(name="from")
    to: dict[str, float]
    moved: Moved
    in_flight: dict[str, int]
    phase: str | None
    step: int | None
    sentence: str


class Previews:
    """Each method raises UnknownName for names that are not there."""

    def __init__(self, state: ControllerState, journal: Journal, seam: Seam) -> None:
        self.state = state
        self.journal = journal
        self.seam = seam

    def command(self, route: str, verb: Verb, challenger: str | None, force: bool) -> ChangePreview:
        """Raises Refused where the route has several rollouts and no challenger is named."""
        at, state = self.state.route(route), self.state.rollout(route, challenger).state
        so_far = self.state.so_far(route, state.champion)
        try:
            change = change_by_event(at, state.challenger, Event(verb), self._cause(), so_far)
        except NotAllowedError as error:
            return self._unchanged(route, verb, state, str(error))
        if change is None:
            return self._unchanged(route, verb, state, "")
        return self._of(change, verb, state, force)

    def split(self, route: str, weights: Mapping[str, float], force: bool) -> ChangePreview:
        """Raises Invalid for weights that no split has."""
        at = self.state.route(route)
        running = next((state for state in at.record.rollouts.values() if state.is_running), None)
        if running is not None:
            refusal = f"a rollout is {running.phase} on {route}; abort it, or let it end"
            return self._unchanged(route, "split", running, refusal)
        wanted = requested_weights(weights, at.record.ledger, self.state.config.config)
        if wanted == {name: weight for name, weight in at.record.ledger.weights.items() if weight}:
            return self._unchanged(route, "split", None, "")
        return self._of(change_of_split(at, wanted, self._cause()), "split", None, force)

    def _cause(self) -> Cause:
        state = self.state
        return Cause("", "", state.served, state.config.hash, state.wall, state.config.config.backends)

    def _unchanged(
        self, route: str, action: str, rollout: RolloutState | None, refusal: str
    ) -> ChangePreview:
        split = shares(self.state.route(route).record.ledger)
        return ChangePreview(
            route,
            action,
            not refusal,
            refusal,
            split,
            split,
            Moved(0, 0.0, {}),
            {},
            None if rollout is None else str(rollout.phase),
            None if rollout is None else rollout.step,
            f"Not possible: {refusal}." if refusal else f"Nothing changes on {route}.",
        )

    def _of(self, change: Change, action: str, before: RolloutState | None, force: bool) -> ChangePreview:
        old, new = change.route.record.ledger, change.record.ledger
        moved = moved_between(old, new)
        after = change.record.rollouts.get(change.challenger)
        losing = [name for name, weight in old.weights.items() if new.weights.get(name, 0) < weight]
        in_flight = self._in_flight(losing)
        refusal = self._refusal(change, force)
        sentence = sentence_of(change, action, before, moved.of, in_flight)
        return ChangePreview(
            change.record.name,
            action,
            not refusal,
            refusal,
            shares(old),
            shares(new),
            moved,
            in_flight,
            None if after is None else str(after.phase),
            None if after is None else after.step,
            f"{sentence} It is refused now: {refusal}." if refusal else sentence,
        )

    def _refusal(self, change: Change, force: bool) -> str:
        """Why the command would not be done; as the controller finds it."""
        if change.rises and not self.journal.ok:
            return f"exposure does not rise while the state cannot be written: {self.journal.error}"
        try:
            allowed(self.state, change, force)
        except Refused as error:
            return str(error)
        return ""

    def _in_flight(self, backends: list[str]) -> dict[str, int]:
        up = [worker for worker in self.seam.workers() if worker.up]
        return {name: sum(worker.in_flight.get(name, 0) for worker in up) for name in backends}


def shares(ledger: Ledger) -> dict[str, float]:
    """Of backends that have a bucket."""
    return {name: weight / WHOLE for name, weight in ledger.weights.items() if weight}


def moved_between(before: Ledger, after: Ledger) -> Moved:
    pairs = Counter(zip(before.slots, after.slots, strict=True))
    of = {
        f"{before.backends[a]}{ARROW}{after.backends[b]}": n
        for (a, b), n in sorted(pairs.items(), key=lambda item: -item[1])
        if before.backends[a] != after.backends[b]
    }
    return Moved(sum(of.values()), sum(of.values()) / BUCKETS, of)
