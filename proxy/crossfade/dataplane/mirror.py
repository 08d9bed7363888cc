"""Mirrored copies: sent in parallel with the request. Their answers are counted and discarded.

Rule (law 7): a mirror never delays, changes or fails what the client sees. Copies use their own
connections. IN_FLIGHT_LIMIT and BYTES_LIMIT bound the copies in flight to one backend and the bytes
held for them. A copy above a limit is dropped, and every drop is counted with its reason. The body of
an answer is kept only if it is compared with the live answer.
"""

from __future__ import annotations

from random import random
from time import monotonic
from typing import TYPE_CHECKING

from msgspec.structs import replace

from crossfade.dataplane.comparison import BEGUN, MAX_WAITING_PAIRS, NO_ANSWER, Comparison
from crossfade.dataplane.endpoint import BackendState, Ejected, EndpointState, connect_failure
from crossfade.dataplane.kept_answer import KeptAnswer
from crossfade.dataplane.outcome import CopyOutcome
from crossfade.dataplane.owner import Owner
from crossfade.dataplane.sampling import raw_answer
from crossfade.dataplane.state import NEVER
from crossfade.dataplane.upstream import Upstream
from crossfade.dataplane.writing import is_writable
from crossfade.errors import FAILURES, Stage
from crossfade.http1.response_head import ResponseHead
from crossfade.quality.answer import RawAnswer
from crossfade.routing.ledger import BUCKETS
from crossfade.routing.snapshot import TESTER

if TYPE_CHECKING:
    from crossfade.dataplane.recorder import Recorder
    from crossfade.dataplane.runtime import Runtime
    from crossfade.dataplane.state import ExchangeState
    from crossfade.quality.samples import AnswerSample
    from crossfade.routing.snapshot import Backend, Mirror, Snapshot
    from crossfade.shared_places import SharedPlaces

IN_FLIGHT_LIMIT = 128  # copies to one backend at a time, in one worker
BYTES_LIMIT = 16 * 1024 * 1024  # request bodies held for copies to one backend, in one worker
MARK = b"x-crossfade-mirror: 1\r\n"
TAKEN_BACK = "dropped_abandoned"  # as the client of its request has left
COPY_IMPOSSIBLE = (
    "dropped_upgrade",
    "dropped_body_size",
    "dropped_not_writable",
    "dropped_drain",
)  # for the request's sake, not the challenger's


class MirrorState:
    """One backend as a target of copies."""

    def __init__(self, backend: BackendState) -> None:
        self.name = backend.spec.name
        self.backend = backend  # separate from the split's BackendState: the mirror has its own connections
        self.bytes_held = 0


class MirrorCopy(Owner):
    """One copy in flight. It owns its upstream connection in the same way as an exchange does.

    `second`: the copy asks the champion a second time. Its answer is used only to measure the champion's noise.
    """

    def __init__(
        self,
        mirrors: Mirrors,
        state: MirrorState,
        exchange: ExchangeState,
        endpoint: EndpointState,
        comparison: Comparison | None,
        second: bool,
    ) -> None:
        self.mirrors = mirrors
        self.runtime = mirrors.runtime
        self.state = state
        self.endpoint = endpoint
        self.exchange = exchange
        self.request_done = True
        self.expecting = False
        self.trailers = self.answer_trailers = b""
        self.head = exchange.head
        self.request_id, self.trace = exchange.request_id, exchange.trace
        self.forwarded_lines = exchange.forwarded_lines
        self.route = exchange.route
        self.key = exchange.key
        self.body = exchange.whole_body()
        self.routed_at = exchange.started
        self.started = monotonic()
        total = state.backend.total_timeout
        self.total_deadline = NEVER if total is None else self.started + total
        self.deadline = min(self.started + state.backend.first_byte_timeout, self.total_deadline)
        self.repeated = False
        self.upstream: Upstream | None = None
        self.status = 0
        self.failed: Stage | None = None
        self.ended = False
        self.comparison = comparison
        self.second = second
        self.answer: ResponseHead | None = None
        self.said = b""  # the answer's body, kept for a comparison where it came in one part
        self.kept_answer: KeptAnswer | None = None  # else, what is kept of it

    def begin(self) -> None:
        self.mirrors.copies.add(self)
        self.state.backend.in_flight += 1
        self.endpoint.in_flight += 1
        self.state.bytes_held += len(self.body)
        upstream = self.endpoint.take()
        if upstream is None:
            self.runtime.spawn(self.open())
        else:
            self.send(upstream)

    async def open(self) -> None:
        try:
            upstream = await self.endpoint.connect(self.state.backend.spec.connect_timeout)
        except OSError as error:
            if not self.ended:  # after its deadline the failure is already counted
                self.on_upstream_failed(connect_failure(error))
            return
        if self.ended:
            upstream.close()
        else:
            self.send(upstream)

    def send(self, upstream: Upstream) -> None:
        self.upstream = upstream
        upstream.ask(self, self.body, MARK)

    def on_interim(self, head: ResponseHead) -> None:
        """A copy ignores interim responses."""

    def on_switch(self, head: ResponseHead, rest: bytes) -> bool:
        return False

    def on_response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        self.status, self.answer = head.status, head
        if self.comparison is not None:
            if done:
                self.said = body
            else:
                self.kept_answer = KeptAnswer(head, self.started)
        self.on_response_body(body, done, b"")

    def on_response_body(self, data: bytes, done: bool, framed: bytes) -> None:
        self.deadline = min(self.runtime.now + self.state.backend.idle_timeout, self.total_deadline)
        if self.kept_answer is not None:
            self.kept_answer.add(data, self.runtime.now)
        if done:
            self.end("sent")

    def on_upstream_failed(self, stage: Stage) -> None:
        """A reused connection that closes is a race, and says nothing of the backend: it is sent once more."""
        if stage is Stage.STALE and not self.repeated:
            self.repeated = True
            self.runtime.spawn(self.open())
            return
        self.endpoint.failed(stage)
        self.status = FAILURES[stage].status or 502
        self.failed = stage
        self.end("dropped_overload" if stage is Stage.OVERLOAD else "failed")

    def on_upstream_writable(self, writable: bool) -> None:
        """No back-pressure: the body is complete, and BYTES_LIMIT already bounds it."""

    def on_deadline(self, now: float) -> None:
        backend, upstream = self.state.backend, self.upstream
        wait = upstream.next_look(now, backend.first_byte_timeout) if upstream is not None else 0.0
        if now >= self.total_deadline:
            self.on_upstream_failed(Stage.TOTAL)
        elif wait:
            self.deadline = min(now + wait, self.total_deadline)
        else:
            self.on_upstream_failed(Stage.FIRST_BYTE)

    def end(self, outcome: str) -> None:
        if self.ended:
            return
        self.ended = True
        mirrors, state = self.mirrors, self.state
        mirrors.copies.discard(self)
        state.backend.in_flight -= 1
        self.endpoint.in_flight -= 1
        if state.backend.is_exact:
            state.backend.capacity.give_back()
        state.bytes_held -= len(self.body)
        upstream, self.upstream = self.upstream, None
        if upstream is not None and upstream.owner is self:
            upstream.close()
        if self.comparison is not None:
            self.tell(self.comparison, outcome)
        self.record(outcome)

    def tell(self, comparison: Comparison, outcome: str) -> None:
        answer = self.raw_answer() if outcome == "sent" else NO_ANSWER
        if self.second:
            comparison.on_second(answer)
        elif outcome in ("sent", "failed"):
            comparison.on_copy(answer)
        elif outcome == "dropped_drain":
            comparison.drop("pair_drain")
        elif outcome == TAKEN_BACK:
            comparison.drop("pair_abandoned")
        else:
            comparison.lose(True, "pair_room")
        self.mirrors.forget_if_ended(comparison)

    def raw_answer(self) -> RawAnswer:
        block = self.answer.block if self.answer is not None else b""
        return raw_answer(self.status, block, self.said, self.kept_answer, monotonic() - self.started, False)

    def record(self, outcome: str) -> None:
        """A dropped copy, and an answer of the champion to a second request, say nothing about the backend."""
        recorder, shadow = self.mirrors.recorder, self.route.shadows.get(self.state.name)
        if self.second or shadow is None or outcome not in ("sent", "failed"):
            recorder.mirrored(self.route.spec.name, self.state.name, outcome)
            return
        copy = CopyOutcome(self.route, shadow, self.key, self.routed_at, monotonic() - self.started)
        copy.status, copy.failed, copy.endpoint = self.status, self.failed, self.endpoint.label
        if copy.is_usual:
            recorder.usual_copy(copy)
        else:
            recorder.mirrored(self.route.spec.name, self.state.name, outcome)
            recorder.shadow(copy)


class Mirrors:
    """All copies of one worker, and the pairs of decisions made from them."""

    def __init__(
        self, runtime: Runtime, recorder: Recorder, on_ejected: Ejected, places: SharedPlaces
    ) -> None:
        self.runtime = runtime
        self.places = places
        self.recorder = recorder
        self.on_ejected = on_ejected
        self.specs: dict[str, Backend] = {}
        self.states: dict[str, MirrorState] = {}
        self.leaving: dict[str, MirrorState] = {}  # no longer configured, and with copies in flight
        self.copies: set[MirrorCopy] = set()
        self.is_ending = False  # the worker ends, and sends no copies
        self.comparisons: set[Comparison] = set()
        self.waiting: dict[ExchangeState, tuple[Comparison, ...]] = {}  # pairs that wait for the live answer
        self.tied: dict[ExchangeState, tuple[str, ...]] = {}  # backends whose copies end with it

    def use(self, snapshot: Snapshot) -> None:
        """A mirror that rewrites its copies is a target of its own."""
        self.specs = specs = dict(snapshot.backends)
        for route in snapshot.routes:
            for mirror in route.mirrors:
                if mirror.target:
                    specs[mirror.target] = replace(specs[mirror.to], request=mirror.request)
        for name in list(self.states):
            if name in specs:
                self.states[name].backend.use(specs[name])
            else:
                self.leaving[name] = state = self.states.pop(name)
                state.backend.retire()

    def state_of(self, key: str, spec: Backend) -> MirrorState:
        """Copies have places of their own: they take none from requests whose clients wait (law 7)."""
        state = self.leaving.pop(key, None)
        if state is None:
            kind = "mirror " if key == spec.name else f"mirror {key}: "
            state = MirrorState(BackendState(spec, self.on_ejected, self.places, kind))
        else:
            state.backend.use(spec)
        self.states[key] = state
        return state

    def send(self, exchange: ExchangeState) -> None:
        """Send copies of the complete request to the mirrors of its route."""
        assigned = exchange.assigned
        if assigned is not None and assigned.role == TESTER:  # chosen by an override token
            return
        for mirror in exchange.route.mirrors:
            if mirror.sample == BUCKETS or random() * BUCKETS < mirror.sample:
                comparison = self.begin(exchange, mirror) if exchange.route.reads else None
                if not mirror.abandoned:
                    self.tied[exchange] = (*self.tied.get(exchange, ()), mirror.to)
                    exchange.awaited = True
                if comparison is None or not comparison.twice:
                    self.copy_compared(exchange, mirror.key, comparison)

    def copy_compared(self, exchange: ExchangeState, key: str, comparison: Comparison | None) -> None:
        dropped = self.copy(exchange, key, comparison)
        if dropped and comparison is not None:
            if dropped in COPY_IMPOSSIBLE:
                comparison.end()
            else:
                comparison.lose(True, "pair_room")
            self.forget_if_ended(comparison)

    def begin(self, exchange: ExchangeState, mirror: Mirror) -> Comparison | None:
        """Begin a pair for this copy. None if the champion is not assigned, or a limit is reached."""
        assigned = exchange.assigned
        if assigned is None or assigned.role != "champion" or assigned.backend == mirror.to:
            return None
        if len(self.comparisons) >= MAX_WAITING_PAIRS or not self.recorder.may_pair(
            exchange.route.spec.name, BEGUN
        ):
            self.recorder.dropped("pairs", 1)
            return None
        key, began, now = exchange.key, exchange.started, self.runtime.now
        comparison = Comparison(self.recorder, exchange.route, key, assigned.backend, mirror, began, now)
        self.comparisons.add(comparison)
        self.waiting[exchange] = (*self.waiting.get(exchange, ()), comparison)
        exchange.awaited = True
        return comparison

    def copy(
        self, exchange: ExchangeState, key: str, comparison: Comparison | None, second: bool = False
    ) -> str:
        """Send and count a copy. Returns the reason if it is dropped, else an empty string."""
        dropped = self.try_copy(exchange, key, comparison, second)
        if dropped:
            self.recorder.mirrored(exchange.route.spec.name, key.partition(" ")[0], dropped)
        return dropped

    def try_copy(self, exchange: ExchangeState, key: str, comparison: Comparison | None, second: bool) -> str:
        if self.is_ending:
            return "dropped_drain"
        spec = self.specs.get(key)
        if spec is None:  # removed by a reload while the request arrived
            return "dropped_no_endpoint"
        state = self.states.get(key)
        if state is None:
            state = self.state_of(key, spec)
        if exchange.head.upgrade is not None:  # an upgraded connection cannot be copied
            return "dropped_upgrade"
        if exchange.kept > exchange.route.replay_limit:
            return "dropped_body_size"
        backend = state.backend
        if backend.demands and not is_writable(exchange, backend):
            return "dropped_not_writable"
        if not backend.available:
            return "dropped_no_endpoint"
        if backend.in_flight >= IN_FLIGHT_LIMIT:
            return "dropped_in_flight"
        if state.bytes_held + exchange.kept > BYTES_LIMIT:
            return "dropped_bytes"
        if backend.in_flight >= backend.held and not backend.capacity.take():
            return "dropped_in_flight"
        MirrorCopy(self, state, exchange, backend.picked(random()), comparison, second).begin()
        return ""

    def on_sample(self, exchange: ExchangeState, sample: AnswerSample) -> None:
        for comparison in self.waiting.get(exchange, ()):
            comparison.on_sample(sample)

    def on_end(self, exchange: ExchangeState, now: float) -> None:
        """Compare the live answer, which the client has now, with the answers to the copies."""
        tied = self.tied.pop(exchange, ()) if self.tied else ()
        unwanted = tied if exchange.abandoned else ()
        if unwanted:
            self.take_back(exchange, unwanted)
        for comparison in self.waiting.pop(exchange, ()):
            asks = comparison.on_live(exchange, now)
            if comparison.twice and comparison.challenger in unwanted:
                self.recorder.mirrored(exchange.route.spec.name, comparison.challenger, TAKEN_BACK)
            elif comparison.twice:
                self.copy_beside_second(exchange, comparison, asks)
            comparison.join()
            self.forget_if_ended(comparison)

    def take_back(self, exchange: ExchangeState, backends: tuple[str, ...]) -> None:
        """End its copies that have no answer yet."""
        for copy in list(self.copies):
            if copy.exchange is exchange and copy.state.name in backends:
                copy.end(TAKEN_BACK)

    def copy_beside_second(self, exchange: ExchangeState, comparison: Comparison, asks: bool) -> None:
        """The copy and the second request are sent at the same moment, so that their latencies compare.

        `asks`: the champion may be asked. If not, the copy is sent all the same: the challenger gets no other requests
        than without noise.
        """
        self.copy_compared(exchange, comparison.key_of_copy, None if comparison.ended else comparison)
        if asks and not comparison.ended and self.copy(exchange, comparison.champion, comparison, True):
            comparison.second = NO_ANSWER

    def forget_if_ended(self, comparison: Comparison) -> None:
        if comparison.ended:
            self.comparisons.discard(comparison)

    def give_up(self, now: float) -> None:
        for comparison in [c for c in self.comparisons if c.deadline <= now]:
            comparison.give_up()
            self.forget_if_ended(comparison)

    def end(self) -> None:
        self.is_ending = True
        for copy in list(self.copies):
            copy.end("dropped_drain")
