"""What works beside the health loop: it asks others, or tells them, and no tick waits for it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from crossfade.config.load import Loaded
from crossfade.control.controller import Controller
from crossfade.control.gate_keeper import GateKeeper
from crossfade.control.history import History, history_path
from crossfade.control.message_sender import MessageSender
from crossfade.control.prometheus_poller import PrometheusPoller
from crossfade.control.registered_versions import RegisteredVersions
from crossfade.control.registry_follower import RegistryFollower
from crossfade.control.retrain_runner import RetrainRunner
from crossfade.control.scheduled_reports import ScheduledReports


class Beside:
    """Make it in a running loop. `environment`: of commands that ask the admin API."""

    def __init__(
        self,
        controller: Controller,
        versions: RegisteredVersions,
        reload: Callable[[], Awaitable[None]],
        environment: Mapping[str, str],
    ) -> None:
        self.poller = PrometheusPoller(lambda: controller.state.served)
        controller.readings = self.poller.readings
        self.reports = ScheduledReports(time.time, environment)
        self.registry = RegistryFollower(controller, versions, reload)
        self.retraining = RetrainRunner(controller.retrain)
        self.sender = MessageSender(controller.notify)
        path = history_path(controller.journal.store.name)
        self.history = controller.history = History(controller.state, path, time.time)
        self.gates = GateKeeper(controller)

    def begin(self, loaded: Loaded, api: str) -> None:
        """`api`: the URL of the admin API, which answers now."""
        self.configure(loaded)
        self.retraining.begin(api)
        self.sender.begin(api)
        self.history.begin()
        self.gates.begin(api)

    def configure(self, loaded: Loaded) -> None:
        self.poller.configure(loaded.config)
        self.reports.configure(loaded.config)
        self.registry.configure(loaded)
        self.sender.configure()

    async def close(self) -> None:
        asking = (self.gates, self.sender, self.retraining, self.registry, self.poller)
        for each in (*asking, self.reports, self.history):
            await each.close()
