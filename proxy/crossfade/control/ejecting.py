"""Which endpoints are out: those that fail their probes, and those that a rollout's evidence has ejected.

An endpoint is ejected where a guarded rollout has proven that it is bad and that the backend's other endpoints are not
(rollout.instances), if min_up of the backend's endpoints stay up (law 15). From then on the evidence leaves it out
(rollout.ejection), and its name is in that evidence. So it is stored with the evidence, and a restart of the proxy ejects it again.

It comes back when the evidence ends (another attempt, or the end of the rollout), when the file no longer names it, and when it has
been restarted: its probes failed and then passed. While no other endpoint of its backend is up and takes requests, it serves all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from crossfade.control.controller_state import ControllerState
from crossfade.control.publisher import Publisher
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.control.store import Endpoints
from crossfade.control.subscription import Feed
from crossfade.control.views import StatusChange
from crossfade.log_lines import facts
from crossfade.rollout.ejection import leave_out, take_back
from crossfade.rollout.instances import BadEndpoint
from crossfade.routing.snapshot import endpoint_of

log = logging.getLogger("crossfade.control")

Ejected = dict[tuple[str, str], BadEndpoint]


class EndpointHealth:
    """Finds what is out, and publishes it when that changes."""

    def __init__(self, state: ControllerState, publisher: Publisher, feed: Feed) -> None:
        self.state, self.publisher, self.feed = state, publisher, feed
        self.restarted: Endpoints = frozenset()  # ejected endpoints whose probes failed and then passed
        self.panics: frozenset[str] = frozenset()  # backends, as the log has them

    def probed(self, failing: Endpoints, now: float, seen_up: Endpoints | None) -> None:
        """`failing`: endpoints that fail their probes; `seen_up`: those that passed one at least once."""
        state = self.state
        state.seen_up = state.seen_up if seen_up is None else seen_up
        self.restarted |= (state.failing - failing) & state.ejected.keys()
        state.failing = failing
        self._take_back()
        self._apply(now)

    def look(self, now: float) -> None:
        """Eject what the evidence has proven, and take back what is no longer ejected."""
        self._take_back()
        for rollout in self._guarded():
            for bad in rollout.bad_instances():
                if self._may_eject(rollout, bad):
                    leave_out(rollout.evidence, bad)
                    rollout.evaluate()
        self._apply(now)

    def _guarded(self) -> Iterable[RolloutRuntime]:
        """Of routes whose evidence is not being written."""
        for route, rollout in self.state.rollouts():
            if rollout.state.is_guarded and not route.lock.locked():
                yield rollout

    def _take_back(self) -> None:
        for rollout in self._guarded():
            for bad in rollout.evidence.ejected:
                name = (bad.backend, bad.endpoint)
                if name in self.restarted or not self._is_named(bad):
                    take_back(rollout.evidence, *name)
        self.restarted &= self._ejected().keys()

    def _ejected(self) -> Ejected:
        """By the evidence of guarded rollouts."""
        return {
            (bad.backend, bad.endpoint): bad
            for _, rollout in self.state.rollouts()
            if rollout.state.is_guarded
            for bad in rollout.evidence.ejected
        }

    def _is_named(self, bad: BadEndpoint) -> bool:
        return endpoint_of(bad.endpoint) in self.state.endpoint_names(bad.backend)

    def _may_eject(self, rollout: RolloutRuntime, bad: BadEndpoint) -> bool:
        """The endpoints that stay up are min_up of those with a weight, and one at least. Of a name, each address that had requests counts."""
        config = self.state.config.config.backends.get(bad.backend)
        if config is None or config.eject is None or not self._is_named(bad):
            return False
        known = rollout.instances_of(bad.backend)
        names = self.state.weighted_endpoints(bad.backend)
        every = [one for name in names for one in _addresses(name, known) or [name]]
        out = {*self._ejected(), (bad.backend, bad.endpoint)}
        left = [one for one in every if (bad.backend, one) not in out and self.state.serves(bad.backend, one)]
        return bool(left) and len(left) >= config.min_up * len(every)

    def _apply(self, now: float) -> None:
        state = self.state
        before = state.down
        wanted = self._ejected()
        state.ejected = {
            (backend, endpoint): bad
            for (backend, endpoint), bad in wanted.items()
            if any(
                (backend, name) not in state.failing and (backend, name) not in wanted
                for name in state.serving_endpoints(backend)
            )
        }
        state.down = state.failing | state.ejected.keys()
        if state.down != before:
            self._tell(before, now)
        self._log_panics()

    def _tell(self, before: Endpoints, now: float) -> None:
        state = self.state
        for _, rollout in state.rollouts():
            for name, _ in before - state.down:
                rollout.restart_warm_up(name, state.served)
        self.publisher.publish()
        detail, ok = state.endpoints_detail(before), not state.down - before
        self.feed.publish(StatusChange(now, "endpoints", None, detail, ok))
        for endpoint in sorted((state.down - before) & state.ejected.keys()):
            why = state.ejected[endpoint]
            known = facts("health", backend=endpoint[0], endpoint=endpoint[1], up=False, ejected=True)
            log.warning("endpoint %s is ejected: %s", why.name, why, extra=known)

    def _log_panics(self) -> None:
        """A drain and a reload can begin one too."""
        panics = frozenset(filter(self.state.in_panic, self.state.config.config.backends))
        for name in sorted(panics - self.panics):
            log.warning(
                "no endpoint of %s passes its probes: without a fallback all get requests (panic)",
                name,
                extra=facts("health", backend=name, panic=True),
            )
        self.panics = panics


def _addresses(endpoint: str, instances: Iterable[str]) -> list[str]:
    return [one for one in instances if one != endpoint and endpoint_of(one) == endpoint]
