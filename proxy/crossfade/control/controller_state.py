"""What the controller holds from one tick to the next. Only the controller changes it; `Views` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from msgspec import structs

from crossfade.config.backend import TimeoutConfig
from crossfade.config.load import Loaded
from crossfade.config.model import Config
from crossfade.control.config_views import LoadedChange
from crossfade.control.loading import Held, Reconciled
from crossfade.control.mirror_watch import MirrorWatch
from crossfade.control.recent import RecentByRoute
from crossfade.control.refusal import Refused, UnknownName
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.served_clock import Gap, ServedClock
from crossfade.control.store import Endpoints
from crossfade.rollout.external import Reading
from crossfade.rollout.instances import BadEndpoint
from crossfade.rollout.pending import HORIZON
from crossfade.routing.snapshot import OWN, endpoint_of
from crossfade.stats.counts import Cell, Counts, CountsTable
from crossfade.stats.histogram import Histogram
from crossfade.stats.window import ANY_VERSION, Window

_NONE = Endpoints()


class Names(NamedTuple):
    """What a configuration names. Counts of other names are forgotten at a load."""

    routes: frozenset[str] = frozenset()
    backends: frozenset[str] = frozenset()
    endpoints: frozenset[tuple[str, str]] = frozenset()  # (backend, URL)

    def joined(self, other: Names) -> Names:
        return Names(
            self.routes | other.routes, self.backends | other.backends, self.endpoints | other.endpoints
        )


def names_in(config: Config) -> Names:
    endpoints = ((name, e.url) for name, backend in config.backends.items() for e in backend.endpoints)
    return Names(frozenset(r.name for r in config.routes), frozenset(config.backends), frozenset(endpoints))


def drained_in(config: Config, drained: Endpoints) -> Endpoints:
    """Those that this configuration names."""
    return frozenset(
        (name, e.name)
        for name, backend in config.backends.items()
        for e in backend.endpoints
        if (name, e.name) in drained
    )


def _horizon(timeout: TimeoutConfig, retries: int) -> float:
    """The seconds after which a request has a first byte or has failed, in its last attempt too."""
    attempts = (timeout.connect + timeout.first_byte) * (1 + retries)
    return attempts if timeout.total is None else min(attempts, timeout.total)


class ControllerState:
    """`clock`: of served time, as last read. `config` is set by the first load."""

    config: Loaded

    def __init__(
        self,
        clock: ServedClock,
        unclaimed: Held,
        cookie_secret: str = "",
        drained: Endpoints = _NONE,
    ) -> None:
        self.cookie_secret = (
            cookie_secret  # signs the cookies of `sticky: assign` where the configuration has no secret
        )
        self.unclaimed = unclaimed  # of routes that are not in the configuration
        self.clock = clock
        self.routes: dict[str, RouteRuntime] = {}  # in the order of the file
        self.totals = CountsTable()  # since the start; ledger versions are summed
        self.window = Window()
        self.recent = RecentByRoute(self.window)
        self.mirror_watch = MirrorWatch()
        self.decision_to_traffic = Histogram()  # seconds from a decision until every worker serves by it
        self.failing: Endpoints = frozenset()  # endpoints that fail their probes
        self.ejected: dict[tuple[str, str], BadEndpoint] = {}  # and those that evidence has ejected
        self.down: Endpoints = frozenset()  # both
        self.drained = drained  # by operators
        self.seen_up: Endpoints = frozenset()  # endpoints that passed a probe at least once
        self.certificate_ends: dict[
            tuple[str, str], float
        ] = {}  # of endpoints over TLS, as the prober saw them; seconds since 1970
        self.generation = 0
        self.names = Names()  # in the configuration
        self.started = 0.0  # served time
        self.gap: Gap | None = None  # the latest gap in served time
        self.config_ok = False
        self.differs_from_file = False
        self.last_reload_at = 0.0
        self.last_reload_error = ""
        self.last_changes: list[LoadedChange] = []  # of the last load
        self.started_with: Config | None = None  # the configuration of the first load

    def accept(self, loaded: Loaded, reconciled: Reconciled, now: float) -> None:
        """Use this configuration from now on; `now`: wall time."""
        self.config, self.config_ok = loaded, True
        self.drained = drained_in(loaded.config, self.drained)
        self.started_with = self.started_with or loaded.config
        self.last_reload_at, self.last_reload_error = now, ""
        self.started = self.started or self.served
        before, self.routes, self.unclaimed = self.routes, {}, reconciled.left
        for config, record, evidence in reconciled.routes:
            route = before.get(config.name)
            if route is None:
                route = RouteRuntime(config, record, evidence)
            else:
                route.update(config, record, evidence)
            self.routes[config.name] = route
            for rollout in route.rollouts.values():
                champion = loaded.config.backends.get(rollout.state.champion)
                rollout.horizon = _horizon(champion.timeout, config.retry.attempts) if champion else HORIZON

    def renew(self, stamps: Mapping[str, str], error: str) -> None:
        """`stamps` of the TLS files; `error` is not one any more."""
        self.config = replace(self.config, stamps=stamps)
        if error and self.last_reload_error == error:
            self.config_ok, self.last_reload_error = True, ""

    def count(self, counts: Counts) -> None:
        """Into the totals (over all ledger versions, whose number has no limit) and the window."""
        cells = [cell.outcomes(ANY_VERSION) for cell in counts.cells]
        self.totals.add(structs.replace(counts, cells=cells))
        self.window.add(counts.cells, self.served)

    def gather(self, counts: Counts) -> None:
        """Into the evidence of the routes."""
        cells = counts.by_route()
        for route in self.routes.values():
            route.gather(cells.get(route.name, ()), self.served, counts.waiting.get(route.name, {}))

    def take_readings(self, readings: Mapping[str, Reading], lag: float) -> None:
        """`readings`: of `prometheus` checks. One from before a gap is older than served time says, so it is not used."""
        usable = {query: found for query, found in readings.items() if found.at >= self.counts_since}
        for _, rollout in self.rollouts():
            rollout.set_lag(lag)
            rollout.set_readings(usable)

    @property
    def held(self) -> Held:
        """Records and evidence of all routes, also of those that are not in the configuration."""
        routes = {route.name: (route.record, route.evidence) for route in self.routes.values()}
        return {**self.unclaimed, **routes}

    @property
    def served(self) -> float:
        return self.clock.served

    @property
    def wall(self) -> float:
        return self.clock.wall

    def route(self, name: str) -> RouteRuntime:
        found = self.routes.get(name)
        if found is None:
            routes = self.config.config.routes if self.started_with is not None else ()
            own = any(route.name == name for route in routes)
            said = f"route {name} answers itself: it has no split" if own else f"no route is called {name}"
            raise UnknownName(said)
        return found

    def rollout(self, route: str, challenger: str | None) -> RolloutRuntime:
        """The rollout of this challenger; where the route has only one, no name is needed."""
        rollouts = self.route(route).rollouts
        if not rollouts:
            raise UnknownName(f"route {route} has no rollout")
        if challenger is None and len(rollouts) > 1:
            raise Refused(f"route {route} has several rollouts; say which challenger: {', '.join(rollouts)}")
        found = rollouts.get(challenger) if challenger else next(iter(rollouts.values()))
        if found is None:
            raise UnknownName(f"no rollout of {challenger} on route {route}; there is {', '.join(rollouts)}")
        return found

    def unlocked(self) -> list[RouteRuntime]:
        """Routes whose next state is not being written."""
        return [route for route in self.routes.values() if not route.lock.locked()]

    @property
    def counts_since(self) -> float:
        """Served time: what is dated before the latest gap is older than served time says."""
        return self.gap.served if self.gap is not None and self.gap.seconds > 0 else 0.0

    def forget_gone(self) -> Names:
        """Counts of names that neither this configuration nor the one before has. Returns the names that stay.

        Those of the one before stay, so that metrics show their last values and requests in flight still count.
        """
        names = names_in(self.config.config)
        kept, self.names = names.joined(self.names), names
        self.totals.keep(kept.routes, kept.backends | {OWN}, kept.endpoints)
        return kept

    def rollouts(self) -> list[tuple[RouteRuntime, RolloutRuntime]]:
        return [(route, rollout) for route in self.routes.values() for rollout in route.rollouts.values()]

    def is_ready(self, backend: str) -> bool:
        """Whether a rollout may give it more traffic: `min_up` of its endpoints are up."""
        config = self.config.config.backends.get(backend)
        return config is not None and self.up_share(backend) >= config.min_up

    def is_up(self, backend: str) -> bool:
        """Whether traffic may go back to it: at least one endpoint is up. Fewer endpoints are better than a bad model."""
        return self.up_share(backend) > 0

    def in_panic(self, backend: str) -> bool:
        """Whether no endpoint passes its probes: then all get the requests that no fallback can answer."""
        serving = self.serving_endpoints(backend)
        return bool(serving) and all((backend, name) in self.down for name in serving)

    def endpoints_detail(self, before: Endpoints) -> str:
        """What has changed since these were the endpoints that are down."""
        fell, rose = sorted(self.down - before), sorted(before - self.down)
        changes = [
            f"{endpoint} of {backend} is {self._fault((backend, endpoint))}" for backend, endpoint in fell
        ]
        changes += [f"{endpoint} of {backend} is up" for backend, endpoint in rose]
        changes += [
            f"no endpoint of {backend} passes its probes (panic)" for backend in self.new_panics(before)
        ]
        return "; ".join(changes)

    def _fault(self, endpoint: tuple[str, str]) -> str:
        return f"ejected: {self.ejected[endpoint]}" if endpoint in self.ejected else "down"

    def new_panics(self, before: Endpoints) -> list[str]:
        """Backends in panic that were not when these were the endpoints that are down."""
        return sorted({backend for backend, _ in self.down - before if self.in_panic(backend)})

    def endpoint_names(self, backend: str) -> list[str]:
        config = self.config.config.backends.get(backend)
        return [] if config is None else [e.name for e in config.endpoints]

    def weighted_endpoints(self, backend: str) -> list[str]:
        config = self.config.config.backends.get(backend)
        return [] if config is None else [e.name for e in config.endpoints if e.weight]

    def serving_endpoints(self, backend: str) -> list[str]:
        """Those that get new requests while they are up: with a weight, and not drained."""
        return [name for name in self.weighted_endpoints(backend) if (backend, name) not in self.drained]

    def serves(self, backend: str, instance: str) -> bool:
        """Whether the endpoint, or one address of it, is up and not drained; where it is probed, it has passed a probe."""
        config, endpoint = self.config.config.backends[backend], (backend, endpoint_of(instance))
        out = endpoint in self.down or endpoint in self.drained or (backend, instance) in self.down
        return not out and (config.health is None or endpoint in self.seen_up)

    def ejected_of(self, backend: str, endpoint: str) -> str:
        """Why the endpoint is ejected, or some of its addresses; "" if none is."""
        found = [
            bad for (of, name), bad in self.ejected.items() if of == backend and endpoint_of(name) == endpoint
        ]
        return "; ".join(str(bad) if bad.endpoint == endpoint else f"{bad.endpoint}: {bad}" for bad in found)

    def up_share(self, backend: str) -> float:
        """The share of its endpoints that are up and, where they are probed, have passed a probe.

        Those with weight 0 do not count; drained ones count as not up. 0 for a backend that is not in the configuration.
        """
        names = self.weighted_endpoints(backend)
        return sum(self.serves(backend, name) for name in names) / max(len(names), 1)

    def so_far(self, route: str, backend: str) -> Cell:
        """The backend's counts since the start; the evidence of a new attempt begins with the champion's."""
        return self.totals.of(route, backend)
