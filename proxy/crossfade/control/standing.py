"""How things stand: what the controller holds, and all that can be read of it. Nothing here changes anything."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version

from crossfade.config.load import Loaded
from crossfade.control import viewing
from crossfade.control.journal import Journal
from crossfade.control.live import LiveRoute
from crossfade.control.live_rollout import LiveRollout
from crossfade.control.refusal import Refused, UnknownName
from crossfade.control.seam import Seam
from crossfade.control.store import Store
from crossfade.control.subscription import Feed, Subscription
from crossfade.control.views import (
    BackendView,
    ConfigView,
    Decision,
    RolloutView,
    RouteView,
    StatusView,
    WhyView,
)
from crossfade.stats.counts import CountsTable
from crossfade.stats.histogram import Histogram
from crossfade.stats.window import Window

VERSION = version("crossfade")  # once: it is looked for in files
Endpoints = frozenset[tuple[str, str]]


class Standing:
    """Times are wall-clock seconds. `config` is there after the first `load`."""

    config: Loaded

    def __init__(self, store: Store, seam: Seam) -> None:
        self.journal = Journal(store)
        self.seam = seam
        self.lives: dict[str, LiveRoute] = {}
        self.totals = CountsTable()
        self.window = Window()
        self.feed = Feed()
        self.settling = Histogram()  # seconds from a decision until every worker serves by it
        self.down: Endpoints = frozenset()
        self.generation = 0
        self.began = self.now = 0.0
        self.config_ok = False
        self.last_reload_at = 0.0
        self.last_reload_error = ""

    def find(self, route: str) -> LiveRoute:
        live = self.lives.get(route)
        if live is None:
            raise UnknownName(f"no route is called {route}")
        return live

    def pick(self, route: str, challenger: str | None) -> LiveRollout:
        """The rollout of this challenger; where there is but one, it needs no name."""
        rollouts = self.find(route).rollouts
        if not rollouts:
            raise UnknownName(f"route {route} has no rollout")
        if challenger is None and len(rollouts) > 1:
            raise Refused(f"route {route} has several rollouts; say which challenger: {', '.join(rollouts)}")
        found = rollouts.get(challenger) if challenger else next(iter(rollouts.values()))
        if found is None:
            raise UnknownName(f"no rollout of {challenger} on route {route}; there is {', '.join(rollouts)}")
        return found

    @property
    def decided(self) -> Counter[tuple[str, str]]:
        """Decisions by (route, action) since the proxy began."""
        return self.journal.decided

    def numbers(self) -> viewing.Numbers:
        return viewing.Numbers(self.totals, self.window.table(self.now), self.window.seconds(self.now))

    def status(self, now: float) -> StatusView:
        return StatusView(
            version=VERSION,
            uptime=max(now - self.began, 0.0),
            generation=self.generation,
            config=self.config_view(),
            workers=self.seam.workers(),
            routes=self.routes(),
            rollouts=self.rollouts(now),
            backends=self.backends(),
            store_ok=self.journal.ok,
        )

    def config_view(self) -> ConfigView:
        source, digest = self.config.source, self.config.hash
        return ConfigView(source, digest, self.config_ok, self.last_reload_error, self.last_reload_at)

    def routes(self) -> list[RouteView]:
        numbers = self.numbers()
        return [viewing.route_view(live, numbers) for live in self.lives.values()]

    def route(self, name: str) -> RouteView:
        return viewing.route_view(self.find(name), self.numbers())

    def backends(self) -> list[BackendView]:
        return [self.backend(name) for name in self.config.config.backends]

    def backend(self, name: str) -> BackendView:
        config = self.config.config.backends.get(name)
        if config is None:
            raise UnknownName(f"no backend is called {name}")
        return viewing.backend_view(name, config, self.down, self.seam.workers())

    def rollouts(self, now: float) -> list[RolloutView]:
        lives = self.lives.values()
        return [viewing.rollout_view(live, one, now) for live in lives for one in live.rollouts.values()]

    def rollout(self, route: str, now: float, challenger: str | None = None) -> RolloutView:
        """Raises Refused when there are several and no challenger is named."""
        return viewing.rollout_view(self.find(route), self.pick(route, challenger), now)

    def why(self, route: str, now: float, challenger: str | None = None) -> WhyView:
        if not self.find(route).rollouts and challenger is None:
            return WhyView(route, self.journal.last(route), None, [viewing.ANOTHER_SPLIT], [])
        rollout = self.pick(route, challenger)
        decision = self.journal.last(route, rollout.challenger)
        verdicts, changes = viewing.verdict_views(rollout), viewing.would_change(rollout)
        return WhyView(route, decision, str(rollout.state.phase), changes, verdicts)

    def decisions(self, route: str | None, after: int, limit: int = 100) -> list[Decision]:
        return self.journal.decisions(route, after, limit)

    def watch(self) -> Subscription:
        return self.feed.subscribe()
