"""A data plane in this process. Its snapshots are built from values, without YAML.

A test starts its backends, then serves routes with `use`. `close` stops everything and then checks the
laws that hold after every test: one outcome for each accepted request, nothing in flight, nothing open.
"""

from __future__ import annotations

import asyncio
import socket
import traceback
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.dataplane import turn
from crossfade.dataplane.endpoint import EndpointState
from crossfade.dataplane.exchange import Exchange
from crossfade.dataplane.listener import DataPlane
from crossfade.dataplane.outcome import Outcome
from crossfade.dataplane.recorder import Recorder
from crossfade.dataplane.upstream import Upstream
from crossfade.errors import Stage
from crossfade.observer.observing import Observer
from crossfade.quality.samples import encode
from crossfade.routing.ledger import BUCKETS, new_ledger, salt_of
from crossfade.routing.router import AssignedBackend
from crossfade.routing.snapshot import Backend, Endpoint, Match, Mirror, Role, Route, Snapshot, Sticky
from crossfade.stats.counts import Cell
from crossfade.stats.observation import Observation
from crossfade.workers.observer_process import routes_of
from tests.build import COMPILED, REASON
from tests.dataplane.scripted import Script, ScriptedBackend, naming
from tests.dataplane.wire import KERNEL_BUFFER, Wire, connect, wait_until

BACKEND = Backend(
    name="", endpoints=(), connect_timeout=5.0, first_byte_timeout=10.0, idle_timeout=10.0,
    total_timeout=None, max_in_flight=1000,
)  # fmt: skip
SNAPSHOT = Snapshot(
    generation=1, backends={}, routes=(), head_bytes=32 * 1024, head_count=100, connections=1000,
    head_timeout=10.0, keep_alive=10.0,
)  # fmt: skip


def endpoint(port: int, up: bool = True) -> Endpoint:
    return Endpoint("127.0.0.1", port, f"127.0.0.1:{port}", up, f"http://127.0.0.1:{port}")


def route(split: str | Mapping[str, int], name: str = "churn", **options: Any) -> Route:
    """It matches all paths by default. The first backend is the champion, the second the challenger."""
    weights = {split: BUCKETS} if isinstance(split, str) else split
    salt = salt_of(name)
    ledger = new_ledger(weights, salt)
    roles: dict[str, Role] = dict(zip(weights, ("champion", "challenger"), strict=False))
    default = Route(
        name=name, match=Match(), sticky=(), ledger=ledger,
        roles=tuple(roles.get(backend, "member") for backend in ledger.backends), salt=salt,
        fallback=None, mirrors=(), retry_attempts=1, retry_budget=0.2, pure=False,
        body_limit=None, inspect_limit=1024 * 1024, upgrades=(b"websocket",),
    )  # fmt: skip
    return replace(default, **options)


def mirrored(to: str, sample: int = BUCKETS) -> tuple[Mirror, ...]:
    return (Mirror(to, sample),)


def sticky(kind: Any, name: str = "") -> tuple[Sticky, ...]:
    return (Sticky(kind, name),)


class CountingRecorder(Recorder):
    """A recorder that also counts the calls that record an outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes = 0
        self.refusals: list[tuple[int, Stage]] = []

    def usual(self, assigned: AssignedBackend, *times_and_key: Any) -> None:
        self.outcomes += 1
        super().usual(assigned, *times_and_key)

    def record(self, outcome: Outcome, assigned: AssignedBackend) -> None:
        self.outcomes += 1
        super().record(outcome, assigned)

    def refused(self, status: int, stage: Stage) -> None:
        self.refusals.append((status, stage))
        super().refused(status, stage)


class Harness:
    """The proxy, its backends and its clients in one event loop."""

    port: int

    def __init__(self) -> None:
        self.recorder = Recorder() if COMPILED else CountingRecorder()
        self.plane = DataPlane(None, self.recorder)
        self.observer = Observer()
        self.seen: list[Exchange] = []
        self.outcomes: Counter[Exchange] = Counter()  # how many outcomes each recorded
        self.backends: dict[str, ScriptedBackend] = {}
        self.specs: dict[str, Backend] = {}
        self.wires: list[Wire] = []
        self.loop_errors: list[dict[str, Any]] = []
        self.plane.loop.set_exception_handler(lambda _, context: self.loop_errors.append(context))

    # ── set up ────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        sock = socket.socket()
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # accepted connections inherit them
            sock.setsockopt(socket.SOL_SOCKET, buffer, KERNEL_BUFFER)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        self.port = int(sock.getsockname()[1])
        self.plane.use(SNAPSHOT)
        await self.plane.listen(sock)

    def backend(
        self, name: str, script: Script = naming, receive_buffer: int = 0, **spec: Any
    ) -> ScriptedBackend:
        """Start a backend with one endpoint that runs the script."""
        started = ScriptedBackend(name, script, receive_buffer)
        started.listen()
        self.backends[name] = started
        self.specs[name] = replace(BACKEND, name=name, endpoints=(endpoint(started.port),), **spec)
        return started

    def another_endpoint(self, name: str, script: Script = naming) -> ScriptedBackend:
        """Start one more endpoint of a backend."""
        started = ScriptedBackend(name, script)
        started.listen()
        self.backends[f"{name}/{started.port}"] = started
        self.specs[name] = replace(
            self.specs[name], endpoints=(*self.specs[name].endpoints, endpoint(started.port))
        )
        return started

    def replica(self, name: str, at: Endpoint, **spec: Any) -> None:
        """Add an endpoint that the test serves itself; add the backend if it does not exist."""
        known = self.specs.get(name, replace(BACKEND, name=name, endpoints=()))
        self.specs[name] = replace(known, endpoints=(*known.endpoints, at), **spec)

    def refusing(self, name: str, **spec: Any) -> ScriptedBackend:
        """Add a backend whose port refuses connections."""
        self.backends[name] = absent = ScriptedBackend(name, naming)
        self.specs[name] = replace(BACKEND, name=name, endpoints=(endpoint(absent.port),), **spec)
        return absent

    def down(self, name: str) -> None:
        """Mark all endpoints of this backend as failing their probes."""
        spec = self.specs[name]
        self.specs[name] = replace(spec, endpoints=tuple(replace(e, up=False) for e in spec.endpoints))

    def use_down(self, name: str, gone: Endpoint) -> None:
        """Serve from this backend alone, with one of its endpoints marked as failing its probes."""
        spec = self.specs[name]
        endpoints = tuple(replace(e, up=e is not gone) for e in spec.endpoints)
        self.specs[name] = replace(spec, endpoints=endpoints)
        self.use(route(name))

    def use(self, *routes: Route, **limits: Any) -> None:
        """Serve these routes, with all backends added so far."""
        generation = self.plane.snapshot.generation + 1
        self.plane.use(
            replace(SNAPSHOT, generation=generation, backends=dict(self.specs), routes=routes, **limits)
        )

    async def client(self, receive_buffer: int = 0, send_buffer: int = 0) -> Wire:
        wire = await connect(self.port, receive_buffer, send_buffer)
        self.wires.append(wire)
        return wire

    # ── results ───────────────────────────────────────────────────────────────────────────────

    async def quiet(self) -> None:
        """Wait until a request was accepted and no exchange and no copy is under way."""
        await wait_until(self._has_accepted, "a request is accepted")
        await wait_until(
            lambda: (
                not self.plane.active and not self.plane.mirrors.copies and all(e.ended for e in self.seen)
            ),
            "all exchanges end",
        )

    def _has_accepted(self) -> bool:
        counts = self.plane.recorder.table
        return bool(self.seen or self.plane.active or counts.cells or counts.refused)

    @property
    def accepted(self) -> list[Exchange]:
        """All exchanges so far, in order."""
        return self.seen if isinstance(self.recorder, CountingRecorder) else pytest.skip(REASON)

    def read_answers(self) -> list[Observation]:
        """Read what was sampled since the last call, as the observer does; the counts join those of the plane."""
        self.observer.use(routes_of(self.plane.snapshot))
        samples = self.recorder.samples.take()
        observed = self.observer.observe(encode(samples), len(samples))
        self.recorder.counts.add(observed.counts)
        return observed.observations

    async def cell(self, backend: str, route: str = "churn") -> Cell:
        """The counts of one backend's answers to clients, read once nothing is under way."""
        await self.quiet()
        self.read_answers()
        return self.plane.recorder.table.of(route, backend)

    async def shadow(self, backend: str) -> Cell | None:
        await self.quiet()
        self.read_answers()
        table = self.plane.recorder.table
        return next((c for c in table.cells.values() if (c.backend, c.role) == (backend, "shadow")), None)

    def mirrors(self, backend: str) -> dict[str, int]:
        """The number of copies to a backend, by how they ended."""
        table = self.plane.recorder.table
        return {outcome: n for (_, to, outcome), n in table.mirrors.items() if to == backend}

    async def close(self) -> None:
        await self.plane.drain(0)
        for wire in self.wires:
            wire.close()
        for backend in self.backends.values():
            await backend.close()
        self._check_laws()

    def _check_laws(self) -> None:
        plane = self.plane
        assert self.loop_errors == [], "\n".join(map(as_text, self.loop_errors))
        assert (plane.clients, plane.active, plane.mirrors.copies, plane.tasks) == (
            set(),
            set(),
            set(),
            set(),
        )
        assert plane.tunnels == set()
        assert plane.held_bytes == 0
        assert plane.mirrors.comparisons == set()
        assert plane.retries.taken == 0
        states = [*plane.backends.values(), *(mirror.backend for mirror in plane.mirrors.states.values())]
        for state in states:
            loads = {e.authority: (e.in_flight, e.idle) for e in state.endpoints.values()}
            assert state.in_flight == 0
            assert loads == dict.fromkeys(loads, (0, []))
        if isinstance(self.recorder, CountingRecorder):  # law 1
            for exchange in self.seen:
                assert exchange.ended
                assert self.outcomes[exchange] == (0 if exchange.assigned is None else 1)
            assert self.recorder.outcomes == self.outcomes.total()
            assert len(self.recorder.refusals) >= sum(e.assigned is None for e in self.seen)


def as_text(context: Mapping[str, Any]) -> str:
    """What a loop told its exception handler, with the traceback."""
    error = context.get("exception")
    return f"{context}\n{''.join(traceback.format_exception(error)) if error is not None else ''}"


def tracked_exchange(harness: Harness) -> type[Exchange]:
    """An Exchange that reports to the harness: each accepted request, and how many outcomes it recorded."""
    assert isinstance(harness.recorder, CountingRecorder)
    recorder: CountingRecorder = harness.recorder

    class TrackedExchange(Exchange):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            harness.seen.append(self)

        def finish(self, now: float = 0.0) -> None:
            before = recorder.outcomes
            super().finish(now)
            harness.outcomes[self] += recorder.outcomes - before

    return TrackedExchange


def keep_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data plane that was made last is busy, and its sweeps find it so."""
    monkeypatch.setattr(turn, "BUSY", -1.0)
    turn.TURN.is_busy = True


def connecting_slowly(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Delay new connections to backends until the returned event is set."""
    if COMPILED:
        pytest.skip(REASON)
    opening = asyncio.Event()
    connect = EndpointState.connect

    async def delayed(self: EndpointState, timeout: float) -> Upstream:
        await opening.wait()
        return await connect(self, timeout)

    monkeypatch.setattr(EndpointState, "connect", delayed)
    return opening


async def settle(turns: int = 20) -> None:
    """Run the event loop for some turns, so that all ready callbacks run."""
    for _ in range(turns):
        await asyncio.sleep(0)
