"""A controller over a fake seam and a fake clock, with real configuration and a real store."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable, Iterable

import msgspec

from crossfade.config.load import Loaded, load
from crossfade.control.chain import Row, text_of
from crossfade.control.comparisons import Comparisons
from crossfade.control.controller import Controller
from crossfade.control.drift_channel import DriftChannel
from crossfade.control.logged_batches import Taken
from crossfade.control.observations import LatestObservations
from crossfade.control.seam import WorkerStatus, acknowledged
from crossfade.control.served_clock import MAX_STEP
from crossfade.control.store import Store
from crossfade.control.viewing import Views
from crossfade.control.views import Decision, RolloutView
from crossfade.rollout.ripe import Portion, Ripe
from crossfade.routing.snapshot import Route, Snapshot
from crossfade.stats.counts import Cell, Counts, Events

NOW = 1_700_000_000.0

HEAD = """
listen: 127.0.0.1:0
state: "sqlite::memory:"
backends:
  v2: {endpoints: [http://127.0.0.1:9002], health: false}
  v3: {endpoints: [http://127.0.0.1:9003], health: false}
  v4: {endpoints: [http://127.0.0.1:9004], health: false}
"""

CANARY = """
routes:
  - name: churn
    match: {path: /predict}
    sticky: {json: customer_id}
    split: {v2: 100%}
    fallback: v2
    rollout:
      strategy: canary
      champion: v2
      challenger: v3
      steps:
        - {weight: 5%, hold: 10s}
        - {weight: 50%, hold: 10s}
      min_requests: 50
      max_step_time: 120s
      watch: 60s
      checks:
        - {metric: error_rate, max: 5%}
        - {metric: error_rate, max_increase: 2%}
        - {metric: latency, quantile: p90, max: 500ms}
"""


HEADING = CANARY[: CANARY.index("    rollout:")]
CHECKS = "[{metric: error_rate, max: 5%}, {metric: error_rate, max_increase: 2%}]"


def rollout_entry(
    challenger: str,
    *weights: str,
    hold: str = "10s",
    checks: str = CHECKS,
    more: str = "",
    champion: str = "v2",
) -> str:
    steps = ", ".join(f"{{weight: {weight}, hold: {hold}}}" for weight in weights)
    return (
        f"      - {{strategy: canary, champion: {champion}, challenger: {challenger}, steps: [{steps}], "
        f"min_requests: 50, checks: {checks}{more}}}\n"
    )


def with_rollouts(*rollouts: str) -> str:
    return HEADING + "    rollout:\n" + "".join(rollouts)


BOTH = with_rollouts(
    rollout_entry("v3", "5%", "30%"), rollout_entry("v4", "10%", "40%", hold="25s", more=", watch: 60s")
)


def rows_of(decisions: Iterable[Decision]) -> list[Row]:
    """As the store holds them."""
    return [Row(d.id, text_of(d)) for d in decisions]


def loaded(yaml: str = CANARY, head: str = HEAD) -> Loaded:
    return load(textwrap.dedent(head) + textwrap.dedent(yaml), "routing.yaml", {})


class FakeSeam:
    """Records snapshots, and reports counts that the test adds. `on_publish` is called before each snapshot."""

    def __init__(self) -> None:
        self.observations = LatestObservations()
        self.comparisons = Comparisons()
        self.drift = DriftChannel()
        self.published: list[Snapshot] = []
        self.counts = Counts()
        self.logged = Taken((), {})
        self.on_publish: Callable[[Snapshot], None] = lambda snapshot: None
        self.acknowledging = True
        self.unacknowledged: list[asyncio.Future[None]] = []
        self.in_flight_at: dict[str, dict[str, int]] = {}
        self.replaced: list[WorkerStatus] = []

    def publish(self, snapshot: Snapshot) -> asyncio.Future[None]:
        self.on_publish(snapshot)
        self.published.append(snapshot)
        if self.acknowledging:
            return acknowledged()
        self.unacknowledged.append(asyncio.get_running_loop().create_future())
        return self.unacknowledged[-1]

    def acknowledge(self) -> None:
        """Acknowledge every snapshot, now and later."""
        self.acknowledging = True
        for future in self.unacknowledged:
            future.set_result(None)

    def take(self) -> Counts:
        taken, self.counts = self.counts, Counts()
        return taken

    def take_logged(self) -> Taken:
        taken, self.logged = self.logged, Taken((), {})
        return taken

    def workers(self) -> list[WorkerStatus]:
        generation = self.published[-1].generation if self.published else 0
        return [WorkerStatus(0, 1, True, generation, 3, 0.0, {"v2": 1}, in_flight_at=self.in_flight_at)]

    def leaving_workers(self) -> list[WorkerStatus]:
        return self.replaced


class Harness:
    """The clock moves in `tick` only; traffic follows the ledger of the last snapshot.

    `now`: the monotonic clock, and the wall clock too unless a test sets `wall_ahead`. All seconds of a tick are served;
    for time in which the proxy does not run, a test adds to `now`.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or Store.open("sqlite::memory:")
        self.seam = FakeSeam()
        self.now = NOW
        self.wall_ahead = 0.0
        self.controller = Controller(self.store, self.seam, monotonic=lambda: self.now)
        self.error_share: dict[str, float] = {}  # by backend
        self.latency: dict[str, float] = {}  # in seconds, by backend

    async def load(self, yaml: str = CANARY, head: str = HEAD, actor: str = "file") -> None:
        await self.controller.load(loaded(yaml, head), actor, self.wall)

    async def tick(self, requests: int = 0, seconds: float = 1.0) -> None:
        """One tick, `seconds` after the last; in between the first route had `requests` requests."""
        self.serve(seconds)
        if requests:
            self.add_traffic(requests)
        self.controller.tick(self.wall)
        await self.controller.idle()

    def feed(self, route: str, rows: Iterable[Ripe]) -> None:
        """Ripe predictions of the route, as its log would give them."""
        runtime = self.controller.state.routes[route]
        start = max(rollout.evidence.fed_to for rollout in runtime.rollouts.values())
        numbered = [row._replace(seq=start + i) for i, row in enumerate(rows, 1)]
        runtime.feed(Portion(0, start + len(numbered), numbered))

    def serve(self, seconds: float) -> None:
        """Time passes in which the proxy serves."""
        while seconds > MAX_STEP:
            self.now += MAX_STEP
            self.controller.read_clock(self.wall)
            seconds -= MAX_STEP
        self.now += seconds

    @property
    def wall(self) -> float:
        return self.now + self.wall_ahead

    async def run(self, ticks: int, requests: int = 400) -> None:
        for _ in range(ticks):
            await self.tick(requests)

    def add_traffic(self, requests: int) -> None:
        route = self.route
        for name, weight in route.ledger.weights.items():
            n = requests * weight // 10_000
            if n:
                role = route.roles[route.ledger.backends.index(name)]
                self.add_counts(name, n, round(n * self.error_share.get(name, 0.0)), role)

    def add_counts(self, backend: str, n: int, errors: int, role: str = "challenger") -> None:
        """`n` requests of a backend; its errors are spread evenly."""
        cell = Cell(self.route.name, backend, role, self.route.ledger.version, requests=n, errors=errors)
        cell.codes = {200: n - errors, 500: errors}
        seconds = self.latency.get(backend, 0.05)
        for _ in range(n):
            cell.duration.add(seconds)
        passed = [title for title, limit in self.route.limits.get(backend, ()) if seconds > limit]
        cell.events = {title: Events(unkeyed=n) for title in passed}
        cell.recent = [int((i + 1) * errors // n > i * errors // n) for i in range(n)][-512:]
        self.seam.counts.cells.append(cell)

    @property
    def route(self) -> Route:
        return self.seam.published[-1].routes[0]

    @property
    def weights(self) -> dict[str, int]:
        """Of the last snapshot."""
        return {name: weight for name, weight in self.route.ledger.weights.items() if weight}

    @property
    def mirrors(self) -> dict[str, int]:
        """Mirror share by backend, of the last snapshot."""
        return {mirror.to: mirror.sample for mirror in self.route.mirrors}

    @property
    def views(self) -> Views:
        return self.controller.views

    @property
    def rollout(self) -> RolloutView:
        return self.views.rollout(self.route.name, self.now)

    async def decisions(self, route: str | None = None) -> list[Decision]:
        page = await self.views.page(route, 0, 10_000)
        return [msgspec.json.decode(record.text, type=Decision) for record in page]

    async def actions(self) -> list[str]:
        return [d.action for d in await self.decisions()]


def again(harness: Harness, seconds: float = 0.0) -> Harness:
    """The proxy dies, and another one opens the same state (a second connection to it, in truth) `seconds` later."""
    other = Harness(harness.store)
    other.now, other.wall_ahead = harness.now + seconds, harness.wall_ahead
    return other
