"""The seam where the data plane is in the control plane's own process (`workers: 0`, tests): a plain call.

Rule: only that mode imports this module. A control process that has workers never loads the data plane.
"""

from __future__ import annotations

import asyncio

from crossfade.control.observations import LatestObservations
from crossfade.control.seam import WorkerStatus, acknowledged
from crossfade.dataplane.listener import DataPlane
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts
from crossfade.workers.worker import status_of


class DirectSeam:
    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self.observations = LatestObservations()

    def publish(self, snapshot: Snapshot) -> asyncio.Future[None]:
        self.plane.use(snapshot)
        return acknowledged()

    def take(self) -> Counts:
        self.observations.add(self.plane.recorder.take_observations())
        return self.plane.recorder.take()

    def workers(self) -> list[WorkerStatus]:
        return [status_of(self.plane, 0)]
