"""A soak from its start to its end: the proxy, its models and clients, faults for so many seconds, then the laws."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from crossfade.control.store import Store
from crossfade.control.views import Decision
from tests.soak import journal_laws, laws, measure
from tests.soak.clients import Clients
from tests.soak.editor import Editor
from tests.soak.layout import PURE, ROUTES
from tests.soak.model_faults import ModelFaults
from tests.soak.models import Behaviour, Model
from tests.soak.operators import Operators
from tests.soak.process_faults import ProcessFaults, replace
from tests.soak.proxy import RECOVERY, Proxy
from tests.soak.record import Record, Violation

ENDPOINTS = {"v2": ("v2a", "v2b"), "v3": ("v3",), "v4": ("v4a", "v4b")}
CALM = 10.0  # seconds without new faults before the end
Acts = Mapping[str, Callable[[], Awaitable[None]]]


class Soak:
    def __init__(self, folder: Path, seed: int, chosen: Callable[[str], bool]) -> None:
        """`chosen`: which faults, by name."""
        self.seed, self.chosen = seed, chosen
        self.record = Record()
        self.proxy = Proxy(folder, self.record)
        self.models = {
            name: [Model(name, self.record, behaviour, f"{seed}/{each}") for each in endpoints]
            for (name, endpoints), behaviour in zip(
                ENDPOINTS.items(), [Behaviour() for _ in ENDPOINTS], strict=True
            )
        }
        self.decisions = list[Decision]()
        self.drawn = Counter[str]()

    async def run(self, seconds: float) -> list[Violation]:
        """All violations, in the order of their time."""
        ports = {}
        for name, models in self.models.items():
            for each, model in zip(ENDPOINTS[name], models, strict=True):
                await model.listen()
                ports[each] = model.port
        editor = Editor(self.proxy, ports, self.record, f"{self.seed}/editor")
        replace(self.proxy.file, editor.text(editor.layout))
        try:
            self.proxy.control = self.proxy.spawn()
            if await self.proxy.settle():
                await self.run_under_faults(seconds, editor)
                await self.stop()
            else:
                self.record.violate(
                    "start", f"not ready within {RECOVERY:.0f} s: {self.proxy.logs[0].read_text()[-2000:]}"
                )
        finally:
            await self.proxy.end_all()
        return sorted(self.judged(), key=lambda violation: violation.at)

    async def run_under_faults(self, seconds: float, editor: Editor) -> None:
        clients = Clients(self.record, self.proxy.port, str(self.seed))
        end = time.monotonic() + seconds
        operators = Operators(self.proxy, self.record, f"{self.seed}/operators")
        processes = ProcessFaults(self.proxy, operators, self.record, f"{self.seed}/processes")
        tracks: dict[str, tuple[Acts, tuple[float, float]]] = {
            "processes": (processes.all, (1, 4)),
            "models": (ModelFaults(self.models, self.record, f"{self.seed}/models").all, (2, 6)),
            "editor": (editor.all, (1, 4)),
            "operators": (operators.all, (0.5, 3)),
        }
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(clients.run(steady=6, once=3, pipelining=2, leaving=2))
            watching = [
                tasks.create_task(measure.watch_usage(self.proxy, self.record)),
                tasks.create_task(measure.watch_lateness(self.record)),
            ]
            async with asyncio.TaskGroup() as faults:
                for name, (acts, pauses) in tracks.items():
                    faults.create_task(self.follow(name, acts, pauses, end))
            if not await self.proxy.settle():
                self.record.violate("16", f"not ready within {RECOVERY:.0f} s after the last fault")
            await asyncio.sleep(CALM)
            clients.stopping = True
            await serving
            for task in watching:
                task.cancel()

    async def follow(self, track: str, acts: Acts, pauses: tuple[float, float], end: float) -> None:
        """One act after the other, drawn from the seed until the time is over; each has its turn before one comes again."""
        generator = random.Random(f"{self.seed}/{track}")
        names = [name for name in acts if self.chosen(name)]
        waiting = list[str]()
        while names:
            await asyncio.sleep(generator.uniform(*pauses))
            if time.monotonic() > end:
                return
            waiting = waiting or generator.sample(names, len(names))
            name = waiting.pop()
            self.drawn[name] += 1
            await acts[name]()
            if track == "processes":
                await self.recover(name)

    async def recover(self, after: str) -> None:
        """Everything must be up again by itself."""
        if await self.proxy.settle():
            return
        live = ", ".join(f"{each.role} {each.pid}" for each in self.proxy.processes())
        self.record.violate(
            "16", f"not ready within {RECOVERY:.0f} s after {after}; there are: {live or 'none'}"
        )
        with self.record.fault("control killed", "to go on"), self.record.fault(laws.ENDED, "to go on"):
            await self.proxy.end_all()
            self.proxy.control = self.proxy.spawn()
            await self.proxy.settle()

    async def stop(self) -> None:
        """In good order: exit code 0, and nobody is left."""
        for each in self.proxy.processes():
            if each.role == "control" and each.pid != self.proxy.control.pid:
                self.record.violate("processes", f"a control process {each.pid} that nobody wanted is there")
        self.proxy.control.send_signal(signal.SIGTERM)
        code = await self.proxy.wait(self.proxy.control, RECOVERY)
        if code != 0:
            self.record.violate("processes", f"the exit code after a drain is {code}")
        end = time.monotonic() + RECOVERY
        while (left := self.proxy.processes()) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        for each in left:
            self.record.violate("processes", f"the {each.role} {each.pid} is still there after a drain")
        self.replay()

    def replay(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "crossfade", "replay", "--state", str(self.proxy.state)],
            capture_output=True, text=True, env=dict(os.environ), check=False,
        )  # fmt: skip
        if done.returncode != 0:
            self.record.violate(
                "12", f"replay: exit code {done.returncode}: {(done.stdout + done.stderr)[-1500:]}"
            )
        with closing(Store.read(str(self.proxy.state))) as store:
            after = 0
            while page := store.decisions(None, after, 500):
                self.decisions += page
                after = page[-1].id

    def judged(self) -> Iterator[Violation]:
        record = self.record
        yield from record.found
        yield from laws.requests_violations(record, PURE)
        yield from laws.usage_violations(record.usage)
        for log in self.proxy.logs:
            yield from measure.log_violations(log.read_text(errors="replace").splitlines(), record.faults)
        for path, names in ROUTES.items():
            splits = journal_laws.splits_of(self.decisions, frozenset(names))
            requests = sorted((r for r in record.requests.values() if r.path == path), key=lambda r: r.begun)
            yield from journal_laws.backend_violations(requests, splits, record.faults)
            yield from journal_laws.sticky_violations(requests, splits, record.faults)
            yield from journal_laws.acknowledged_violations(record, path, splits)
        yield from journal_laws.edit_violations(record, self.decisions)
