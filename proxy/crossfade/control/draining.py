"""Endpoints that an operator has drained: they get no new requests until `undrain`.

Rule: a drain is a decision of the journal, of no route, and it is on disk before it acts. All endpoints that are drained are
stored with it, so a restart or a takeover keeps them. To the data plane such an endpoint has no weight: its requests in
flight end, and its probes go on. It counts as not up wherever a rollout asks (law 15). A reload that no longer names the
endpoint forgets the drain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from crossfade.config.model import Config
from crossfade.config.problem import nearest
from crossfade.control.background import Background
from crossfade.control.change import Cause, draft_of
from crossfade.control.controller_state import ControllerState, drained_in
from crossfade.control.ejecting import EndpointHealth
from crossfade.control.journal import Journal
from crossfade.control.journal_entry import Entry
from crossfade.control.publisher import Publisher
from crossfade.control.refusal import LastEndpoint, Refused, UnknownName
from crossfade.control.seam import WorkerStatus
from crossfade.control.store import Endpoints
from crossfade.control.subscription import Feed
from crossfade.control.views import Decision, StatusChange

NO_ROUTE = ""
DRAIN, UNDRAIN = "drain", "undrain"


class Named(NamedTuple):
    """An endpoint of the configuration."""

    backend: str
    name: str
    url: str


def found_endpoint(config: Config, backend: str, endpoint: str) -> Named:
    """By its name or its URL. Raises UnknownName, with what is similar."""
    found = config.backends.get(backend)
    if found is None:
        raise UnknownName(f"no backend is called {backend}{_advice(backend, config.backends)}")
    for each in found.endpoints:
        if endpoint in (each.name, each.url):
            return Named(backend, each.name, each.url)
    known = [each.url if "://" in endpoint else each.name for each in found.endpoints]
    raise UnknownName(f"no endpoint of {backend} is called {endpoint}{_advice(endpoint, known)}")


def _advice(name: str, known: Iterable[str]) -> str:
    known = list(known)
    similar = nearest(name, known)
    return f"; did you mean {similar}?" if similar else f"; there is {', '.join(known)}"


def left_in_flight(backend: str, endpoint: str, workers: Iterable[WorkerStatus]) -> int | None:
    """Of an endpoint that gets no new requests. None while a worker has not told, or does not know that yet."""
    told = [worker.in_flight_at.get(backend, {}).get(endpoint) for worker in workers]
    return sum(n for n in told if n is not None) if None not in told else None


def forgotten(drained: Endpoints, config: Config, cause: Cause) -> list[Entry]:
    """The decisions of a load that does not name all endpoints that are drained."""
    out, left = [], drained
    for backend, endpoint in sorted(drained - drained_in(config, drained)):
        left -= {(backend, endpoint)}
        why = cause._replace(reason=f"{endpoint} of {backend} is no longer in the file")
        out.append(_entry(backend, endpoint, why, left))
    return out


def _entry(backend: str, endpoint: str, cause: Cause, drained: Endpoints) -> Entry:
    is_drained = (backend, endpoint) in drained
    draft = draft_of(NO_ROUTE, DRAIN if is_drained else UNDRAIN, cause, (None, None), {})
    draft.from_ = {"backend": backend, "endpoint": endpoint, "drained": not is_drained}
    draft.to = {"backend": backend, "endpoint": endpoint, "drained": is_drained}
    return Entry(draft, None, drained=drained)


class Drains:
    """`loading`: held while a configuration is loaded, as that forgets drains too."""

    def __init__(
        self,
        state: ControllerState,
        journal: Journal,
        publisher: Publisher,
        health: EndpointHealth,
        feed: Feed,
        loading: asyncio.Lock,
        tell: Callable[[Sequence[Decision]], None],
    ) -> None:
        self.state, self.journal, self.publisher = state, journal, publisher
        self.health, self.feed, self.loading, self.tell = health, feed, loading, tell
        self._background = Background()

    async def drain(
        self, backend: str, endpoint: str, actor: str, reason: str = "", force: bool = False
    ) -> None:
        """Returns when no worker begins a request there. Once more changes nothing.

        Raises UnknownName; LastEndpoint where no other endpoint would get the requests, without `force`; Refused if it
        cannot be written.
        """
        await self._change(backend, endpoint, True, (actor, reason or f"drain by {actor}"), force)

    async def undrain(self, backend: str, endpoint: str, actor: str, reason: str = "") -> None:
        """Returns when all workers may begin requests there. It returns with a slow start."""
        await self._change(backend, endpoint, False, (actor, reason or f"undrain by {actor}"), True)

    async def idle(self) -> None:
        await self._background.idle()

    async def _change(
        self, backend: str, endpoint: str, is_drained: bool, why: tuple[str, str], force: bool
    ) -> None:
        work = self._changed(backend, endpoint, is_drained, why, force)
        await asyncio.shield(self._background.task(work))  # to its end, also if the caller is cancelled
        await self.publisher.served()

    async def _changed(
        self, backend: str, endpoint: str, is_drained: bool, why: tuple[str, str], force: bool
    ) -> None:
        async with self.loading:
            state = self.state
            found = found_endpoint(state.config.config, backend, endpoint)
            one = (found.backend, found.name)
            if (one in state.drained) == is_drained:
                return
            if is_drained and not force:
                self._require_another(found)
            actor, reason = why
            config = state.config
            cause = Cause(actor, reason, state.served, config.hash, state.wall)
            drained = state.drained | {one} if is_drained else state.drained - {one}
            decisions = await self.journal.write_first([_entry(*one, cause, drained)])
            if decisions is None:
                raise Refused(f"{found.name} of {backend} stays as it is: {self.journal.error}")
            self._apply(found, drained, decisions)

    def _apply(self, found: Named, drained: Endpoints, decisions: list[Decision]) -> None:
        state = self.state
        is_back, state.drained = (found.backend, found.name) in state.drained, drained
        self.health.look(state.wall)  # an ejected endpoint serves where no other one does
        if is_back:
            for _, rollout in state.rollouts():
                rollout.restart_warm_up(found.backend, state.served)
        self.publisher.publish()
        self.tell(decisions)
        detail = f"{found.name} of {found.backend} is {'back' if is_back else 'drained'}"
        self.feed.publish(StatusChange(state.wall, "endpoints", None, detail))

    def _require_another(self, found: Named) -> None:
        """Raises LastEndpoint if this one gets requests and no other one would get them."""
        state, backend = self.state, found.backend
        serving = state.serving_endpoints(backend)
        others = [name for name in serving if name != found.name]
        is_up = (backend, found.name) not in state.down
        if found.name not in serving or any(state.serves(backend, name) for name in others):
            return
        if is_up or not others:
            what = (
                "no other endpoint of it is up" if others else "it has no other endpoint that gets requests"
            )
            raise LastEndpoint(
                f"{found.name} is the last available endpoint of {backend}: {what}; "
                "with --force (in the API: ?force=true) it is drained all the same"
            )
