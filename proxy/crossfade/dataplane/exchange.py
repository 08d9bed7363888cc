"""One request and its response. The methods stand in the order in which an exchange runs them.

    begin ─ inspect? ─ decide ─ place ─ (connect) ─ send ─ on_response ─ relay body ─ finish: record
                                  ▲                    │
                                  └── retry, fallback ─┘  before the first byte to the client, never after

The usual exchange (pooled connection, no retry) runs through these methods as plain callbacks. It
creates no task and no future. Only opening a new connection creates a task. The table in `errors`
says what a failure means. Each exchange ends once, in `finish` (law 1).
"""

from __future__ import annotations

import logging
from random import random
from time import monotonic
from typing import Any, Final

from crossfade.dataplane import awaiting, cached, expectation, kept_body, own_answers
from crossfade.dataplane.content import check_size, content_of
from crossfade.dataplane.endpoint import BackendState, EndpointState, connect_failure
from crossfade.dataplane.flow import OF_EXCHANGE, PEER
from crossfade.dataplane.idle import end_of
from crossfade.dataplane.inspection import Inspection
from crossfade.dataplane.kept_answer import KeptAnswer
from crossfade.dataplane.recording import record
from crossfade.dataplane.retry_policy import may_fall_back, may_retry, retry_choices
from crossfade.dataplane.state import NEVER
from crossfade.dataplane.tunnel import Tunnel, is_granted, validate_upgrade
from crossfade.dataplane.upstream import Upstream
from crossfade.dataplane.waiting import WaitingState
from crossfade.errors import FAILURES, Failure, RequestRefused, Stage
from crossfade.http1.response_head import ResponseHead
from crossfade.routing.balance import pick, pick_by_weight
from crossfade.routing.router import CompiledRoute, matching, need_body

log = logging.getLogger("crossfade.dataplane")
_CLOCK: Final = monotonic  # bound when it is built


class Exchange(WaitingState):
    __slots__ = ()

    # ── request from the client ───────────────────────────────────────────────────────────────

    def begin(self, body: bytes, done: bool) -> None:
        """Start with the head and the part of the body that came with it. Raises RequestRefused."""
        self.body = body
        self.kept = len(body)
        self.request_done = done
        router = self.plane.router
        if router.has_cors and self.head.start.method == b"OPTIONS" and own_answers.preflight(self, router):
            self.finish(self.first_byte_at)
            return
        candidates = router.candidates(self.head)
        if not candidates:
            raise RequestRefused(Stage.NO_ROUTE)
        if not done and need_body(candidates):
            self.inspection = Inspection(self.plane, self.head, candidates)
        if self.inspection is None or self.inspection.learn(body, done):
            self.decide(candidates)
        elif self.head.expects_continue:
            expectation.tell_client(self)

    def on_request_body(self, data: bytes, done: bool) -> None:
        """Take the next part of the body. Raises RequestRefused if the body exceeds its limit before it was sent."""
        self.request_done = done
        self.kept += len(data)
        if self.inspection is not None and self.assigned is None:
            kept_body.hold(self, data)
            if self.inspection.learn(data, done):
                self.decide(self.plane.router.candidates(self.head))  # uses the current snapshot
            return
        if self.inspection is not None:
            self.inspection.watch(data)
        check_size(self, self.route)
        if self.expecting:
            expectation.end_wait(self)
        if self.replayable:
            kept_body.hold(self, data)
        if self.awaits_body:
            self.await_body(done)
            return
        if self.upstream is not None:
            self.upstream.send(data, done, self.trailers)
            if self.answer is not None:
                self.idle_from_now()
            elif done:
                self.await_first_byte()
        if done and self.route.mirrors:
            self.plane.mirrors.send(self)

    def await_body(self, done: bool) -> None:
        """Send the request once the backend can get it rewritten, if the cache has no answer to it."""
        if self.lookup is not None and cached.answers(self.plane, self, self.lookup):
            return
        if done and self.route.mirrors:  # before the exchange can end
            self.plane.mirrors.send(self)
        if awaiting.may_send(self.plane, self, self.answering):
            self.place(self.answering)

    # ── routing and sending ───────────────────────────────────────────────────────────────────

    def decide(self, candidates: tuple[CompiledRoute, ...]) -> None:
        """Choose the route. The exchange reads the snapshot here and never later."""
        plane, head = self.plane, self.head
        content = None
        if candidates and need_body(candidates):
            content = content_of(plane, self, candidates)
            candidates = matching(candidates, content)
        if not candidates:
            raise RequestRefused(Stage.NO_ROUTE)
        self.route = route = candidates[0]
        if route.answer_fields is not None:
            self.client.problem_fields = route.answer_fields.of_problem(head)
        if route.body_limit is not None:
            check_size(self, route)
        if route.rate is not None:
            plane.charge(route.rate, self, content)
        if route.own_answer is not None:
            own_answers.respond(self, route, route.own_answer)
            self.finish(self.first_byte_at)
        else:
            self.assign(route, content)

    def assign(self, route: CompiledRoute, content: Any) -> None:
        """Choose bucket and backend."""
        plane, head = self.plane, self.head
        assignment = route.assign(head, content, self.client.peer, random)
        self.assigned = assigned = assignment.assigned
        self.key = assignment.key
        if assignment.visitor is not None:
            self.give_cookie(assignment.visitor)
        if route.fallback is not None:
            self.fallback = plane.backends[route.fallback]
        plane.active.add(self)
        if head.upgrade is not None:
            validate_upgrade(self)
        backend = plane.backends[assigned.backend]
        if route.cache is not None and cached.begin(plane, self, backend):
            return
        if self.request_done and route.mirrors:
            plane.mirrors.send(self)
        if not backend.demands or awaiting.may_send(plane, self, backend):
            self.place(backend)

    def place(self, backend: BackendState) -> None:
        """Choose an endpoint of the backend, and send on a pooled connection or open a new one."""
        self.answering = backend
        choices = backend.available or self.choices_in_panic(backend)
        if self.tried:
            choices = retry_choices(self, self.stages[-1]) or choices
        if not choices:
            self.on_no_place(Stage.NO_ENDPOINT)
            return
        if backend.in_flight >= backend.held and not backend.capacity.take():
            if not backend.capacity.wait(self):
                self.on_no_place(Stage.OVERLOAD)
            return
        if len(choices) == 1:
            endpoint = choices[0]
        elif backend.has_weights:
            endpoint = pick_by_weight(choices, random())
        else:
            endpoint = pick(choices, random())
        self.endpoint = endpoint
        backend.in_flight += 1
        endpoint.in_flight += 1
        self.placed = True
        if backend.total_timeout is not None and self.total_deadline == NEVER:
            self.total_deadline = self.started + backend.total_timeout
        self.deadline = self.total_deadline
        upstream = endpoint.take() if self.attempts == 0 else None  # a retry uses a new connection
        if upstream is not None:
            self.send(upstream)
        else:
            self.plane.spawn(self.open(endpoint))

    async def open(self, endpoint: EndpointState) -> None:
        """Slow path: open a new connection. Meanwhile the client may send more of the body or disconnect."""
        try:
            upstream = await endpoint.connect(self.answering.spec.connect_timeout)
        except OSError as error:
            if self.placed and self.endpoint is endpoint and not self.ended:
                self.on_upstream_failed(connect_failure(error))
            return
        if not self.placed or self.endpoint is not endpoint:  # ended, or moved to the fallback or its queue
            endpoint.put(upstream)
            return
        try:
            self.send(upstream)
        except Exception:
            log.exception("internal error: the exchange is aborted")
            self.on_upstream_failed(Stage.BUG)

    def send(self, upstream: Upstream) -> None:
        """Send the request with the part of the body that has arrived."""
        self.upstream = upstream
        body = self.body if self.more is None else self.whole_body()
        if self.client.paused:
            self.client.resume(OF_EXCHANGE)
        if self.client_stalls:
            upstream.pause(PEER)
        if self.head.expects_continue:
            expectation.prepare(self)
        upstream.ask(self, body)  # may stop reading from the client again
        if self.request_done:
            self.await_first_byte()
        if self.held:
            awaiting.release(self.plane, self)
        if self.kept > self.route.replay_limit and (
            not self.request_done or self.inspection is not None or self.more is not None
        ):
            kept_body.forget(self)

    # ── response from the backend ─────────────────────────────────────────────────────────────

    def on_switch(self, head: ResponseHead, rest: bytes) -> bool:
        if not is_granted(self, head):
            return False
        tunnel = Tunnel(self, self.plane, self.plane.tunnels)
        first = self.client.become_tunnel(head, self.head.upgrade or b"")
        self.finish()
        tunnel.open(first, rest)
        return True

    def on_interim(self, head: ResponseHead) -> None:
        """Forward 1xx responses to the client; a 100 only if the client waits for it."""
        if head.status != 100:
            self.client.answer_interim(head)
        elif self.expecting:
            expectation.tell_client(self)

    def on_response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        """Relay the head and the part of the body that came with it.

        The usual answer is complete here and goes to the client in one write.
        """
        if head.status >= 400 and head.status in self.route.error_statuses:
            self.blame(FAILURES[Stage.STATUS])
            if may_fall_back(self, FAILURES[Stage.STATUS], self.plane.retries):
                self.leave(not done)
                self.fall_back(Stage.STATUS, head.status)
                return
        if self.lookup is not None:
            cached.gather(self.plane, self, self.lookup, head, body, done)
        if self.route.answer_fields is not None:
            head = self.route.answer_fields.edited(head, self.head)
        self.status = head.status
        self.first_byte_at = now = _CLOCK()
        self.sent = len(body)
        if self.route.reads:
            if done:
                self.said = body
            else:
                self.kept_answer = KeptAnswer(head, self.started)
                self.kept_answer.add(body, now)
        if self.answer_trailers:
            self.client.answer(head, body, False)
            self.client.answer_trailers(self.answer_trailers)
        else:
            self.client.answer(head, body, done)
        self.answer = head
        if done:
            self.finish(now)
        else:
            self.idle_from_now()

    def on_response_body(self, data: bytes, done: bool, framed: bytes) -> None:
        self.sent += len(data)
        if self.kept_answer is not None:
            self.kept_answer.add(data, monotonic())
        if self.lookup is not None:
            cached.gather_more(self.plane, self, self.lookup, data, done)
        if self.answer_trailers:
            self.client.answer_body(data, False, b"")
            self.client.answer_trailers(self.answer_trailers)
        else:
            self.client.answer_body(data, done, framed)
        if done:
            self.finish()
        else:
            self.idle_from_now()

    # ── failures ──────────────────────────────────────────────────────────────────────────────

    def on_upstream_failed(self, stage: Stage) -> None:
        """Do the first of these that is allowed: retry, fall back, answer with an error.

        If a part of the answer is already out, abort the client's connection instead.
        """
        failure = FAILURES[stage]
        self.expecting = False
        if self.endpoint is not None:
            self.endpoint.failed(stage)
        self.leave(broken=True)
        if self.answer is not None:
            self.cut(failure)
        elif may_retry(self, failure, self.plane.retries):
            self.attempts += 1
            self.stages += (stage,)
            self.retried += (stage,)
            if self.endpoint is not None:
                self.tried += (self.endpoint,)
            self.place(self.answering)
        else:
            self.blame(failure)
            if may_fall_back(self, failure, self.plane.retries):
                self.fall_back(stage, failure.status)
            else:
                self.fail(failure)

    def fall_back(self, stage: Stage, code: int) -> None:
        assert self.fallback is not None
        self.asked_before = self.asked
        self.expecting = self.awaits_body = False
        self.fell_back = self.has_more_fields = True
        self.fallback_stage, self.code = stage, code
        self.attempts = 0
        self.tried = ()
        self.place(self.fallback)

    def blame(self, failure: Failure) -> None:
        """Count the failure against the assigned backend, unless the fallback failed."""
        self.stages += (failure.stage,)
        if not self.fell_back and failure.blames_backend:
            self.blamed = True

    def fail(self, failure: Failure) -> None:
        """Send an error response from the proxy."""
        self.status = failure.status
        self.client.answer_problem(RequestRefused(failure.stage), self.request_id)
        self.finish()

    def cut(self, failure: Failure) -> None:
        """A part of the answer is out: abort the connection, so that the answer cannot look complete (law 8)."""
        self.blame(failure)
        self.client.cut()
        self.finish()

    def on_deadline(self, now: float) -> None:
        """Called by the sweep when the deadline has passed."""
        if self.expecting and self.answer is None and now < self.total_deadline:
            expectation.on_deadline(self)
            return
        if self.waiting_since:
            self.give_up_waiting("timeout")
            return
        stage = end_of(self, now)
        if stage is Stage.CLIENT_LEFT:
            self.client.cut()
            self.abandon(FAILURES[stage])
        elif stage is Stage.HEAD_TIMEOUT:
            self.client.refuse(RequestRefused(stage))
        elif stage is not None:
            self.on_upstream_failed(stage)

    def abandon(self, failure: Failure, status: int = 0) -> None:
        """Stop: the client disconnected or its request is refused. Never blames the backend (law 6)."""
        if self.ended:
            return
        self.stages += (failure.stage,)
        self.status = status or failure.status
        self.blamed, self.abandoned = False, True
        self.finish()

    # ── end of the exchange ───────────────────────────────────────────────────────────────────

    def leave(self, broken: bool) -> None:
        """Release the endpoint. `broken`: close the connection if this exchange still owns it."""
        self.deadline = NEVER
        self.give_place_back()
        upstream, self.upstream = self.upstream, None
        if upstream is not None and broken and upstream.owner is self:
            upstream.close()

    def finish(self, now: float = 0.0) -> None:
        """Record the end, exactly once for each exchange (law 1). `now`: the clock, if the caller has just read it."""
        if self.ended:
            return
        self.ended = True
        self.leave(broken=True)
        if not now:
            now = monotonic()
        plane = self.plane
        if self.inspection is not None:
            self.inspection.release()
        if self.held:
            awaiting.release(plane, self)
        if self.lookup is not None:
            self.lookup.end()
        if self.holds_budget:
            plane.retries.give_back()
        record(plane, self, now)
        self.client.on_end(self)
        if self.awaited:
            plane.mirrors.on_end(self, now)
