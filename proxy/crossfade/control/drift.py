"""Drift of all routes: profiles are read and kept, what the observer saw goes to the detectors, and alarms are told.

Rule: a tick waits for no file. What is read and written is so in a thread; of a disk that takes nothing the log says so, and
watching goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from crossfade.config.drift import LIVE, DriftConfig
from crossfade.control import drift_files
from crossfade.control.background import Background
from crossfade.control.controller_state import ControllerState
from crossfade.control.disk_thread import DiskThread
from crossfade.control.drift_channel import DriftChannel
from crossfade.control.drift_files import StoredMonitor
from crossfade.control.loss_reading import LossReading
from crossfade.control.prediction_logs import PredictionLogs
from crossfade.control.refusal import Refused, UnknownName
from crossfade.control.route_drift import RouteDrift
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.subscription import Feed
from crossfade.control.views import StatusChange
from crossfade.quality.monitor import Alarm, Monitor
from crossfade.quality.profile import BadProfile, Profile
from crossfade.quality.watching import Learned, Watched

log = logging.getLogger("crossfade.drift")

SAVE_EVERY = 10.0  # seconds between two savings
REMIND_EVERY = 60.0  # seconds of served time
TELL_EVERY = 2.0  # seconds of served time between two looks of rollouts


class DriftAlarm(NamedTuple):
    """An alarm, and its route."""

    route: str
    alarm: Alarm


class Files(NamedTuple):
    """What was read for one route. `profiles`: with their stamps, by backend; one with the name "" is for all."""

    profiles: dict[str, tuple[Profile, str]]
    backend: str
    known: StoredMonitor | None
    trouble: str


class Drift:
    """`folder`: None keeps nothing. `on_alarm`: called in the tick, once for each alarm; `on_lasting`: from time
    to time, while it lasts."""

    def __init__(
        self,
        state: ControllerState,
        channel: DriftChannel,
        feed: Feed,
        folder: Path | None,
        logs: PredictionLogs,
    ) -> None:
        self.state = state
        self.channel = channel
        self.feed = feed
        self.folder = folder
        self.logs = logs
        self.routes: dict[str, RouteDrift] = {}
        self.losses: dict[str, LossReading] = {}
        self.on_alarm: list[Callable[[DriftAlarm], None]] = []
        self.on_lasting: list[Callable[[DriftAlarm], None]] = []
        self.reminded_at = 0.0  # served time
        self.disk = DiskThread("drift")
        self.background = Background()
        self.saved: dict[str, bytes] = {}
        self.saved_at = 0.0  # wall time
        self.told_at = float("-inf")  # served time at which rollouts were told
        self.disk_error = ""

    # ── configuration and files ───────────────────────────────────────────────────────────────

    def accept(self) -> None:
        """Use the configuration that was loaded; profiles are read again, as an operator may have written new ones."""
        before, self.routes = self.routes, {}
        losses, self.losses = self.losses, {}
        for route in self.state.routes.values():
            config = route.config.drift
            if config is None:
                continue
            found = before.get(route.name)
            keys = tuple(key.name for key in route.config.sticky if key.kind == "json")
            if found is None or (found.config, found.keys) != (config, keys):
                monitor = found.monitor if found is not None else Monitor()
                found = RouteDrift(config, keys)
                found.monitor = monitor
            self.routes[route.name] = found
            self.losses[route.name] = losses.get(route.name) or LossReading(self.logs, self.background)
            found.serve(champion_of(route))
            self.background.spawn(self._read(route.name, found))

    async def _read(self, name: str, route: RouteDrift) -> None:
        asked = self.disk.submit(read_files, self.folder, name, route.config)
        files = await asyncio.wrap_future(asked)
        if self.routes.get(name) is not route:
            return
        if files.known is not None and not route.is_read and not route.monitor.stamp:
            route.monitor, self.losses[name].watch = files.known.monitor, files.known.loss
        route.is_read = True
        self._set_trouble(name, route, files.trouble)
        if "" in files.profiles:
            route.use_profile(*files.profiles[""], files.backend)
        elif files.profiles:
            route.use_profiles(files.profiles)
        if route.trouble:
            log.warning("drift of route %s: %s", name, route.trouble)

    def _set_trouble(self, name: str, route: RouteDrift, trouble: str) -> None:
        if trouble and trouble != route.trouble:
            log.error("drift of route %s: %s", name, trouble)
            self.feed.publish(StatusChange(self.state.wall, "drift", name, trouble, ok=False))
        route.trouble = trouble

    # ── each tick ─────────────────────────────────────────────────────────────────────────────

    def look(self, now: float) -> None:
        """Take what the observer saw, close windows, tell alarms, and say what it is to watch. `now`: wall time."""
        seen = self.channel.take()
        for name, route in self.routes.items():
            route.serve(champion_of(self.state.routes[name]))
            if route.needs_profile() and not route.attempt:
                route.attempt = max(int(now), 1)
        for sketched in seen.sketched:
            found = self.routes.get(sketched.route)
            if found is not None:
                self._tell(sketched.route, found.see(sketched, now))
        for together in seen.together:
            found = self.routes.get(together.route)
            if found is not None:
                self._tell(together.route, found.see_together(together, now))
        for learned in seen.learned:
            self._use_learned(learned)
        for name, route in self.routes.items():
            self._tell(name, route.look(now))
            if route.is_read:
                alarm = self.losses[name].look(self.state.routes[name], route, now)
                self._tell(name, [] if alarm is None else [alarm])
            self.state.routes[name].drifting = route.drifting
        self._remind()
        self._tell_rollouts()
        self._publish()
        if now - self.saved_at >= SAVE_EVERY or now < self.saved_at:
            self.saved_at = now
            self.save()

    def _remind(self) -> None:
        """Of alarms that last: an order to train again may have been refused the first time, in its cooldown."""
        if self.state.served - self.reminded_at < REMIND_EVERY:
            return
        self.reminded_at = self.state.served
        for name, route in self.routes.items():
            for alarm in route.lasting:
                for told in self.on_lasting:
                    told(DriftAlarm(name, alarm))

    def _tell_rollouts(self) -> None:
        """From time to time, as a test of many fields takes a millisecond or two."""
        served = self.state.served
        is_due = served - self.told_at >= TELL_EVERY
        self.told_at = served if is_due else self.told_at
        for name, route in self.routes.items():
            rollouts = self.state.routes[name].rollouts.values()
            asking = [rollout for rollout in rollouts if rollout.drift_checks and rollout.state.is_guarded]
            route.has_checks = bool(asking)
            for rollout in asking if is_due else ():
                rollout.set_drift(route.readings(rollout))

    def _publish(self) -> None:
        """Only where something has changed is there another object, which the seam sends on."""
        wanted: dict[str, Watched] = {name: route.watched() for name, route in self.routes.items()}
        if wanted != self.channel.wanted:
            self.channel.wanted = wanted

    def _tell(self, route: str, alarms: list[Alarm]) -> None:
        for alarm in alarms:
            log.warning("%s on route %s: %s", alarm.kind, route, alarm.detail)
            detail = f"{alarm.kind}: {alarm.detail}"
            self.feed.publish(StatusChange(alarm.at, "drift", route, detail, ok=False))
            for told in self.on_alarm:
                told(DriftAlarm(route, alarm))

    def _use_learned(self, learned: Learned) -> None:
        route = self.routes.get(learned.route)
        if route is not None and learned.attempt == route.attempt:
            route.attempt = 0
            self.background.spawn(self._keep(learned.route, route, learned.profile, learned.backend))

    # ── operators ─────────────────────────────────────────────────────────────────────────────

    def route(self, name: str) -> RouteDrift:
        """Raises UnknownName."""
        self.state.route(name)
        found = self.routes.get(name)
        if found is None:
            raise UnknownName(f"route {name} has no drift in the configuration")
        return found

    def learn(self, name: str) -> RouteDrift:
        """Make a profile of the requests from now on; the present one is used until then. Raises UnknownName or Refused."""
        route = self._of_live(name)
        route.attempt = max(int(self.state.wall), route.attempt + 1)
        return route

    async def put(self, name: str, profile: Profile) -> RouteDrift:
        """Compare with this profile from now on. Raises UnknownName, or Refused where it cannot be kept."""
        route = self._of_live(name)
        route.attempt = 0
        if not await self._keep(name, route, profile, ""):
            raise Refused(f"the profile cannot be kept: {self.disk_error}")
        return route

    def _of_live(self, name: str) -> RouteDrift:
        route = self.route(name)
        if route.config.baseline != LIVE:
            raise Refused(f"the configuration names the profile of route {name}; write it there, and reload")
        return route

    async def _keep(self, name: str, route: RouteDrift, profile: Profile, backend: str) -> bool:
        """On the disk first, so that no restart knows less. Where nothing is kept at all, it is used as it is."""
        if self.folder is None:
            route.use_profile(profile, drift_files.stamp_of(msgspec.json.encode(profile)), backend)
            return True
        asked = self.disk.submit(drift_files.keep_profile, self.folder, name, profile, backend)
        try:
            stamp = await asyncio.wrap_future(asked)
        except OSError as error:
            self._say(f"{self.folder}: {error.strerror}")
            return False
        if self.routes.get(name) is route:
            route.use_profile(profile, stamp, backend)
            log.info("route %s has a new profile of %d rows", name, profile.rows)
        return True

    # ── the disk ──────────────────────────────────────────────────────────────────────────────

    def save(self) -> None:
        """In the thread, what has changed."""
        for name, route in self.routes.items():
            data = drift_files.encoded(route.monitor, self.losses[name].watch) if route.is_read else b""
            if self.folder is not None and data and data != self.saved.get(name):
                self.saved[name] = data
                asked = self.disk.submit(drift_files.keep_monitor, self.folder, name, data)
                self.background.spawn(self._saved(name, asyncio.wrap_future(asked)))

    async def _saved(self, name: str, done: asyncio.Future[None]) -> None:
        try:
            await done
            self.disk_error = ""
        except OSError as error:
            self.saved.pop(name, None)
            self._say(f"{self.folder}: {error.strerror}")

    def _say(self, error: str) -> None:
        if error != self.disk_error:
            log.error("what is known of drift cannot be kept: %s", error)
        self.disk_error = error

    async def idle(self) -> None:
        await self.background.idle()

    async def close(self) -> None:
        """Before the prediction logs are closed."""
        self.save()
        await asyncio.to_thread(self.disk.end)
        self.background.cancel()


def champion_of(route: RouteRuntime) -> str:
    """The backend in charge; on a route without one, the one with the largest weight."""
    weights = route.record.ledger.weights
    return route.champion or max(weights, key=lambda name: weights[name], default="")


def read_files(folder: Path | None, route: str, config: DriftConfig) -> Files:
    """In a thread."""
    profiles: dict[str, tuple[Profile, str]] = {}
    backend, trouble = "", ""
    try:
        if isinstance(config.baseline, dict):
            profiles = {name: drift_files.profile_at(path) for name, path in config.baseline.items()}
        elif config.baseline != LIVE:
            profiles[""] = drift_files.profile_at(config.baseline)
        elif folder is not None and (kept := drift_files.kept_profile(folder, route)):
            profiles[""], backend = kept[:2], kept[2]
    except BadProfile as error:
        trouble = str(error)
    known = drift_files.kept_monitor(folder, route) if folder is not None else None
    return Files(profiles, backend, known, trouble)
