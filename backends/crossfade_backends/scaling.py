"""The autoscaling of one deployment: reads the proxy's metrics, and changes how many replicas are wanted as `autoscale` decides.

Rule: nothing is decided without numbers. While the proxy does not answer, or a change is under way, all stays as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from crossfade_backends.admin_client import AdminClient, ProxyError
from crossfade_backends.autoscale import Reading, Target, decide
from crossfade_backends.deployments import Replica, Wanted, change_wanted
from crossfade_backends.proxy_load import Load, goes_on, load_of, p99_between

READ_EVERY = 1.0  # seconds
P99_OVER = 10.0  # seconds of answers that a p99 is of


class Scaling:
    """`folder`: of the deployment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.readings: deque[Reading] = deque()
        self.loads: deque[tuple[float, Load]] = deque()
        self.changed_at = self.read_at = float("-inf")

    def look(
        self, wanted: Wanted, replicas: Sequence[Replica], client: AdminClient | None, now: float
    ) -> str:
        """What it has changed, and why; "" for nothing."""
        if wanted.target is None or wanted.routing is None or client is None:
            return ""
        if not _is_calm(wanted, replicas):
            self._forget(now)
            return ""
        if now - self.read_at < READ_EVERY:
            return ""
        self.read_at = now
        try:
            self._read(client.metrics(), wanted.routing.backend, wanted.target, now)
        except ProxyError:
            self._forget(now)
            return ""
        return self._decide(wanted, wanted.target, now)

    def _forget(self, now: float) -> None:
        self.readings.clear()
        self.loads.clear()
        self.changed_at = now

    def _read(self, page: str, backend: str, target: Target, now: float) -> None:
        load = load_of(page, backend)
        if self.loads and not goes_on(self.loads[-1][1], load):
            self.loads.clear()
        self.loads.append((now, load))
        while len(self.loads) > 2 and self.loads[1][0] <= now - P99_OVER:
            self.loads.popleft()
        self.readings.append(Reading(now, load.in_flight, p99_between(self.loads[0][1], load)))
        longest = max(target.up_after, target.down_after)
        while len(self.readings) > 1 and self.readings[1].at <= now - longest:
            self.readings.popleft()

    def _decide(self, wanted: Wanted, target: Target, now: float) -> str:
        change = decide(target, wanted.replicas, self.readings, self.changed_at, now)
        if change is None:
            return ""
        changed = change_wanted(
            self.folder,
            # A command that came first is followed; this is looked at again then.
            lambda latest: (
                latest.model_copy(update={"replicas": change.replicas})
                if latest is not None and latest.number == wanted.number
                else None
            ),
        )
        if changed is None:
            return ""
        said = f"{wanted.replicas} → {change.replicas} replicas: {change.reason}"
        print(said, flush=True)
        return said


def _is_calm(wanted: Wanted, replicas: Sequence[Replica]) -> bool:
    """No change is under way. A replica that keeps ending is no change: the others may need help."""
    return len(replicas) == wanted.replicas and all(one.state == "up" or one.restarts for one in replicas)
