"""Faults of models: one backend answers errors, hangs, cuts its answers, dies or fails its probes for some seconds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from tests.soak.laws import DEAD, PROBES
from tests.soak.models import Mode, Model
from tests.soak.record import Record


class ModelFaults:
    def __init__(self, models: Mapping[str, Sequence[Model]], record: Record, seed: str) -> None:
        """`models`: the endpoints by backend."""
        self.models, self.record, self.random = models, record, random.Random(seed)
        self.all: dict[str, Callable[[], Awaitable[None]]] = {
            "model-fails": lambda: self.misbehave(Mode.FAILS),
            "model-rejects": lambda: self.misbehave(Mode.REJECTS),
            "model-hangs": lambda: self.misbehave(Mode.HANGS),
            "model-cuts": lambda: self.misbehave(Mode.CUTS),
            "model-dies": self.die,
            "endpoint-dies": self.lose_endpoint,
            "probes-fail": self.fail_probes,
        }

    async def misbehave(self, mode: Mode) -> None:
        """The challenger mostly; the others in a small share of the requests."""
        name = self.random.choice(("v3", "v3", "v3", "v2", "v4"))
        behaviour = self.models[name][0].behaviour
        behaviour.share = self.random.choice((0.1, 0.5, 1.0)) if name == "v3" else 0.1
        with self.record.fault(mode, f"{name}, {behaviour.share:.0%} of the requests"):
            behaviour.mode = mode
            await self.last()
            behaviour.mode = Mode.WELL

    async def die(self) -> None:
        name = self.random.choice(("v2", "v3", "v4"))
        await self.lose(self.models[name], name)

    async def lose_endpoint(self) -> None:
        await self.lose([self.models["v2"][self.random.randrange(2)]], "one endpoint of v2")

    async def lose(self, models: Sequence[Model], what: str) -> None:
        with self.record.fault(DEAD, what):
            for model in models:
                model.die()
            await self.last()
            for model in models:
                await model.listen()

    async def fail_probes(self) -> None:
        """Its endpoints answer requests all the while."""
        name = self.random.choice(("v2", "v3", "v4"))
        behaviour = self.models[name][0].behaviour
        with self.record.fault(PROBES, name):
            behaviour.probes_pass = False
            await self.last()
            behaviour.probes_pass = True

    async def last(self) -> None:
        await asyncio.sleep(self.random.uniform(1, 5))
