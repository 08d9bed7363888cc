"""The registry of models beside the routes: who is in charge is written there, and a new challenger is taken from there.

Rule: what is in charge is compared with what was written last, so a registry that does not answer gets it later, however long that
takes, and no decision waits for it. A new challenger waits until the route's rollout is over: it becomes the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from crossfade.coalescing import end_of
from crossfade.config.load import Loaded
from crossfade.config.problem import BadValue
from crossfade.config.registered import RegisteredBackend, RegisteredOfRoute
from crossfade.config.registry import RegisteredVersion, RegistryConfig, endpoint_for, version_of
from crossfade.control.controller import Controller
from crossfade.control.registered_versions import RegisteredVersions
from crossfade.control.registries import CHAMPION, Found, Registry, RegistryError, registry_of
from crossfade.control.views import StatusChange
from crossfade.rollout.retraining import pause_after

log = logging.getLogger("crossfade.registry")

LOOK = 1.0  # seconds between two looks at who is in charge
ALIAS, ALIAS_FAILED = "alias", "alias_failed"


class _Charge(NamedTuple):
    """What the registry is to say of a model, and the route that says so."""

    route: str
    version: RegisteredVersion


class RegistryFollower:
    """Make it in a running loop. `reload`: reads the configuration again, with the versions that are known then."""

    def __init__(
        self,
        controller: Controller,
        versions: RegisteredVersions,
        reload: Callable[[], Awaitable[None]],
        look: float = LOOK,
    ) -> None:
        self.controller, self.versions, self.reload, self.look = controller, versions, reload, look
        self.config: RegistryConfig | None = None
        self.registry: Registry | None = None
        self.challengers: dict[str, str] = {}
        self.written: dict[str, RegisteredVersion] = {}  # by model
        self.failures: dict[str, int] = {}  # by model, in a row
        self.again: dict[str, float] = {}  # by model: the loop's time of the next attempt
        self.said = ""  # the latest trouble
        self.changed = asyncio.Event()
        self.following: asyncio.Task[None] | None = None

    def configure(self, loaded: Loaded) -> None:
        self.challengers = dict(loaded.challengers)
        if loaded.config.registry != self.config:
            self.config = loaded.config.registry
            self.written, self.failures, self.again = {}, {}, {}
            self.changed.set()
        if self.following is None and self.config is not None:
            self.following = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        if self.following is not None:
            self.following.cancel()
            await asyncio.gather(self.following, return_exceptions=True)
        if self.registry is not None:
            await self.registry.close()

    async def _follow(self) -> None:
        """What fails is logged, and the next look goes on."""
        next_look = 0.0
        while True:
            try:
                if self.changed.is_set():
                    next_look = 0.0
                    await self._open()
                if self.registry is not None and self.config is not None:
                    await self.put_in_charge(self.registry)
                    if self.time() >= next_look:
                        next_look = self.time() + self.config.interval
                        await self.look_for_challengers(self.registry)
            except Exception:
                log.exception("the registry cannot be followed; the next look tries again")
            await end_of(self.look)

    async def _open(self) -> None:
        """The registry of the present configuration."""
        self.changed.clear()
        before, self.registry = self.registry, None if self.config is None else registry_of(self.config)
        if before is not None:
            await before.close()

    # ── who is in charge ──────────────────────────────────────────────────────────────────────

    async def put_in_charge(self, registry: Registry) -> None:
        """What the registry does not say yet, or could not be told."""
        for charge in self._charges():
            model = charge.version.model
            if self.written.get(model) == charge.version or self.time() < self.again.get(model, 0.0):
                continue
            try:
                is_new = await registry.put_in_charge(charge.version)
            except RegistryError as error:
                await self._failed(charge, error)
                continue
            if is_new and not await self._record(
                charge, ALIAS, f"{charge.version} is the champion in the registry"
            ):
                continue
            self.written[model] = charge.version
            for one in (self.failures, self.again):
                one.pop(model, None)

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def _charges(self) -> list[_Charge]:
        """The first route that uses a model says who is in charge."""
        found: dict[str, _Charge] = {}
        state = self.controller.state
        for route in state.routes.values():
            backend = state.config.config.backends.get(route.champion or "")
            if backend is not None and backend.registry is not None:
                version = version_of(backend.registry)
                found.setdefault(version.model, _Charge(route.name, version))
        return list(found.values())

    async def _failed(self, charge: _Charge, error: RegistryError) -> None:
        """The first failure in a row is recorded; then the pauses grow."""
        model = charge.version.model
        failures = self.failures[model] = self.failures.get(model, 0) + 1
        self.again[model] = self.time() + pause_after(failures) * self.look
        reason = f"{charge.version} is not the champion in the registry yet: {error}"
        log.warning("%s: %s (attempt %d)", charge.route, reason, failures)
        if failures == 1:
            await self._record(charge, ALIAS_FAILED, reason)

    async def _record(self, charge: _Charge, action: str, reason: str) -> bool:
        to = {"alias": CHAMPION, "version": str(charge.version)}
        return await self.controller.record(charge.route, action, to, reason)

    # ── who is next ───────────────────────────────────────────────────────────────────────────

    async def look_for_challengers(self, registry: Registry) -> None:
        """Takes over what is new, by a reload."""
        known = {name: of for name, of in self.versions.known.items() if name in self.challengers}
        troubles = []
        for route, reference in self.challengers.items():
            try:
                known[route] = await self._of_route(registry, route, reference)
            except (RegistryError, BadValue) as error:
                troubles.append(f"route {route}: no challenger from {reference}: {error}")
        self._say("; ".join(troubles))
        known = {route: of for route, of in known.items() if of != RegisteredOfRoute()}
        if known == self.versions.known:
            return
        try:
            await asyncio.to_thread(self.versions.save, known)
        except OSError as error:
            self._say(f"the versions of the registry cannot be written down: {error.strerror}")
            return
        await self.reload()

    async def _of_route(self, registry: Registry, route: str, reference: str) -> RegisteredOfRoute:
        """A challenger that was promoted, or has failed, stays in its rollout until there is another one."""
        before = self.versions.known.get(route, RegisteredOfRoute())
        at = self.controller.state.routes.get(route)
        model, _, alias = reference.partition("@")
        found = await registry.by_alias(model, alias)
        if at is None or found is None:
            return before
        challenger = self._backend_of(found)
        if before.challenger is not None and before.challenger.registry == challenger.registry:
            return RegisteredOfRoute(before.champion, challenger)  # perhaps with another endpoint
        if at.is_guarded or self._is_champion(at.champion, challenger):
            return before
        champion = next(
            (b for b in (before.challenger, before.champion) if b and b.name == at.champion), None
        )
        return RegisteredOfRoute(champion, challenger)

    def _is_champion(self, champion: str | None, challenger: RegisteredBackend) -> bool:
        backend = self.controller.state.config.config.backends.get(champion or "")
        return champion == challenger.name or (
            backend is not None and backend.registry == challenger.registry
        )

    def _backend_of(self, found: Found) -> RegisteredBackend:
        """One of the file that names this version, else a new one. Raises BadValue where nothing says its endpoint."""
        version = str(found.name)
        known = [b for of in self.versions.known.values() for b in (of.champion, of.challenger) if b]
        made = {backend.name for backend in known if not backend.of_file}
        for name, backend in self.controller.state.config.config.backends.items():
            if backend.registry == version and name not in made:
                return RegisteredBackend(name, version, backend.endpoints[0].url, of_file=True)
        template = None if self.config is None else self.config.endpoint
        if not found.endpoint and template is None:
            raise BadValue(f"{version} has no tag endpoint, and the file has no registry.endpoint")
        endpoint = endpoint_for(found.endpoint or template or "", found.name)
        return RegisteredBackend(f"{found.model}-{found.version}", version, endpoint)

    def _say(self, trouble: str) -> None:
        """Once, until it changes."""
        if trouble and trouble != self.said:
            log.warning("registry: %s", trouble)
            self.controller.feed.publish(StatusChange(self.controller.state.wall, "registry", None, trouble))
        self.said = trouble
