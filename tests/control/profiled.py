"""A controller whose champion has a profile of its inputs and scores, and windows of what it was asked."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from crossfade.control.controller import Controller
from crossfade.control.drift import DriftAlarm
from crossfade.control.drift_view import drift_view
from crossfade.control.store import Store
from crossfade.quality.profile import Profile
from crossfade.quality.profiling import profile_of
from crossfade.quality.sketch import Sketch
from crossfade.quality.watching import Learned, Sketched
from tests.control.harness import HEADING, NOW, FakeSeam, loaded

DRAW = random.Random(8)
PROFILE = profile_of(
    [{"age": DRAW.gauss(40, 10), "plan": DRAW.choice("ab")} for _ in range(5000)],
    [DRAW.random() for _ in range(5000)],
    "v2",
)
LIVE = HEADING + "    prediction: {score: p}\n    drift: {window: 1h, rows: 1000}\n"
WINDOW = 3600


def with_file(path: Path, more: str = "") -> str:
    return HEADING + f"    prediction: {{score: p}}\n    drift: {{baseline: {path}{more}}}\n"


class Proxy:
    """A controller with a state on disk, that may be closed and opened again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.db"

    async def open(self, yaml: str) -> None:
        self.yaml = yaml
        self.store = Store.open(f"sqlite:{self.path}")
        self.seam = FakeSeam()
        self.controller = Controller(self.store, self.seam)
        self.drift = self.controller.drift
        self.alarms: list[DriftAlarm] = []
        self.drift.on_alarm.append(self.alarms.append)
        await self.controller.load(loaded(yaml), "test", NOW)
        await self.drift.idle()
        self.tick(NOW)

    def tick(self, now: float) -> None:
        self.controller.tick(now)

    async def close(self) -> None:
        await self.controller.close()
        self.store.close()

    def see(self, slot: int, age: float = 40, n: int = 1000, backend: str = "v2", score: float = 1) -> None:
        """What the observer saw in a window."""
        draw, sketch, watched = random.Random(slot), Sketch(), self.seam.drift.wanted["churn"]
        assert watched.profile is not None
        field = watched.score_field(backend)
        for _ in range(n):
            sketch.add_row(watched.profile, {"age": draw.gauss(age, 10), "plan": draw.choice("ab")})
            if field is not None:
                sketch.add_score(field, backend, draw.random() * score)
        self.seam.drift.seen.sketched.append(Sketched("churn", watched.stamp, slot, sketch))
        self.tick((slot + 0.5) * WINDOW)

    def learn(self, profile: Profile, attempt: int | None = None, backend: str = "v2") -> None:
        wanted = self.seam.drift.wanted["churn"].attempt if attempt is None else attempt
        self.seam.drift.seen.learned.append(Learned("churn", wanted, backend, profile))

    @property
    def view(self) -> Any:
        return drift_view("churn", self.drift.route("churn"))


def slots(n: int, begin: int = 1) -> range:
    first = int(NOW // WINDOW) + begin
    return range(first, first + n)
