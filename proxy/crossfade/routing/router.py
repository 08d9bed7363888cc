"""The router: from a request to a route, a bucket and a backend.

Rule: the backend is assigned without a look at health, since an outage must not change the split of an
experiment. `balance` selects the endpoint later. A router is built once for each snapshot.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import msgspec

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.memory import remember
from crossfade.http1.request_head import RequestHead
from crossfade.paths import BadPath, readings
from crossfade.quality.prediction import Prediction
from crossfade.routing.caching import AnswerCache
from crossfade.routing.key import first_key
from crossfade.routing.ledger import BUCKETS, hash_of
from crossfade.routing.match import body_test, head_test, matched_part
from crossfade.routing.override import read_token
from crossfade.routing.own_answers import CompiledAnswer, CompiledCors, answer_fields
from crossfade.routing.rate import RateLimit
from crossfade.routing.snapshot import CACHED, OWN, TESTER, Match, Role, Route, Snapshot
from crossfade.routing.visitor import ID_BYTES, VisitorCookie, visitor_of
from crossfade.stats.counts import ANY_SECOND, SHADOW, CellKey

Draw = Callable[[], float]
KEPT_KEYS = 4096
OF_THE_CLIENT = frozenset(
    {401, 403, 407, 429}
)  # who asks, and how often: not what a model makes of the request
_KEPT_LENGTH = 64  # bytes


@lru_cache
def statuses_of(errors: tuple[tuple[int, int], ...]) -> tuple[frozenset[int], frozenset[int]]:
    """Statuses that are errors of a backend, by ranges; and those by which it rejects a request: all other ones from 400 on."""
    failed = frozenset(status for first, last in errors for status in range(first, last + 1))
    return failed, frozenset(range(400, 600)) - failed - OF_THE_CLIENT


def paths_of(spec: Route) -> tuple[tuple[str, ...], ...]:
    """The JSON paths of the route's conditions and keys."""
    keys = spec.sticky if spec.rate is None else (*spec.sticky, spec.rate.key)
    names = [*(name for name, _ in spec.match.json), *(key.name for key in keys if key.kind == "json")]
    return tuple(tuple(name.split(".")) for name in names)


def is_by_path_alone(spec: Route) -> bool:
    """Whether nothing but an exact path decides; a redirect also asks where it leads to."""
    redirects = spec.own_answer is not None and spec.own_answer.redirects
    return spec.match.path is not None and spec.match == Match(path=spec.match.path) and not redirects


class AssignedBackend:
    """A backend that a route can assign, with its role. Outcomes are counted under `cell_of` their start.

    `guarded`: a rollout's tests read its outcomes, so each second of routing has its own cell. `cell`: the latest one,
    of requests that started in [`since`, `until`). `logged`: how the access log names it, kept there.
    """

    __slots__ = ("backend", "cell", "first_limit", "guarded", "limits", "logged", "role", "since", "until")

    def __init__(self, spec: Route, backend: str, role: Role) -> None:
        self.backend = backend
        self.role = role
        self.cell: CellKey = (spec.name, backend, role, spec.ledger.version, ANY_SECOND)
        self.logged = b""
        self.guarded = spec.guarded and role not in (TESTER, CACHED) and backend != OWN
        self.since = 0.0
        self.until = 0.0 if self.guarded else float("inf")
        self.limits = () if role == CACHED else spec.limits.get(backend, ())
        self.first_limit = self.limits[0][1] if self.limits else float("inf")

    def cell_of(self, started: float) -> CellKey:
        """The cell of a request that was routed at this time of the monotonic clock."""
        if started < self.since or started >= self.until:
            route, backend, role, version, _ = self.cell
            second = int(started)
            self.since, self.until = float(second), second + 1.0
            self.cell = (route, backend, role, version, second)
        return self.cell


class Assignment:
    """The backend, and the hash of the sticky key; None if the bucket was unkeyed at random.

    `visitor`: an id that the answer's cookie gives to the client.
    """

    __slots__ = ("assigned", "key", "visitor")

    def __init__(self, assigned: AssignedBackend, key: int | None, visitor: bytes | None = None) -> None:
        self.assigned = assigned
        self.key = key
        self.visitor = visitor


class CompiledRoute:
    """A route with its conditions and key sources compiled to functions."""

    __slots__ = (
        "absent_beyond",
        "answer_fields",
        "assignable",
        "body_limit",
        "body_test",
        "cache",
        "cached",
        "cors",
        "error_statuses",
        "fallback",
        "head_test",
        "header",
        "inspect_limit",
        "json_paths",
        "key",
        "keyed",
        "logs",
        "matched",
        "mirrors",
        "name",
        "needs_body",
        "only_candidate",
        "only_step",
        "own",
        "own_answer",
        "path_only",
        "rate",
        "reads",
        "rejections",
        "replay_limit",
        "salt",
        "sample",
        "shadows",
        "slots",
        "spec",
        "steps",
        "unkeyed",
        "version",
        "visits",
        "wants_body",
        "wants_head",
    )

    def step_of(self, backend: str) -> int | None:
        """Of the rollout that this backend is part of; a champion of several rollouts has none."""
        step = self.steps.get(backend)
        return self.only_step if step is None else step

    def __init__(self, spec: Route) -> None:
        self.spec = spec
        self.visits: Visits | None = None
        self.only_candidate: tuple[CompiledRoute, ...] = (self,)
        self.own_answer = CompiledAnswer(spec, spec.own_answer) if spec.own_answer is not None else None
        self.head_test = self.route_test(spec.match)
        self.path_only = is_by_path_alone(spec)
        self.body_test = body_test(spec.match)
        self.key = first_key(spec.sticky)
        given = [sticky for sticky in spec.sticky if sticky.assigned is None]
        only = given[0] if len(given) == 1 else None
        self.header = only.name.lower().encode() if only is not None and only.kind == "header" else b""
        self.rate = RateLimit(spec.rate, spec.salt) if spec.rate is not None else None
        self.matched = matched_part(spec.match)
        self.json_paths = paths_of(spec)
        self.needs_body = bool(self.json_paths)
        self.slots = spec.ledger.slots
        self.version = spec.ledger.version
        self.assignable = tuple(map(partial(AssignedBackend, spec), spec.ledger.backends, spec.roles))
        self.unkeyed: tuple[Assignment, ...] = tuple(
            Assignment(assigned, None) for assigned in self.assignable
        )
        self.keyed: dict[bytes, Assignment] = {}  # by key; a look-up costs a tenth of a hash
        self.salt = spec.salt
        self.body_limit, self.inspect_limit = spec.body_limit, spec.inspect_limit
        self.replay_limit, self.absent_beyond = spec.replay_limit, spec.absent_beyond
        self.fallback, self.mirrors = spec.fallback, spec.mirrors
        self.shadows = {mirror.to: AssignedBackend(spec, mirror.to, SHADOW) for mirror in spec.mirrors}
        self.cache: AnswerCache | None = (
            None  # what keeps answers outlives the router, so whoever serves sets it
        )
        self.cached = {name: AssignedBackend(spec, name, CACHED) for name in spec.ledger.backends}
        self.error_statuses, self.rejections = statuses_of(spec.errors)
        self.name = spec.name
        prediction = spec.prediction or Prediction()
        self.reads = spec.prediction is not None  # whether the observer reads answers
        self.sample = prediction.sample
        self.logs = spec.logs
        self.steps = dict(spec.steps)
        self.only_step = spec.steps[0][1] if len(spec.steps) == 1 else None
        self.wants_body = prediction.wants_body or spec.inputs or spec.drift
        self.wants_head = prediction.wants_head or spec.drift
        self.own = AssignedBackend(spec, OWN, "member")  # what the proxy answers itself is counted there
        self.cors = CompiledCors(spec.cors) if spec.cors is not None else None
        self.answer_fields = answer_fields(spec, self.cors)  # None: answers pass as they are

    def preflight_test(self, head: RequestHead, path: bytes, wanted: bytes) -> bool:
        match = self.spec.match
        if match.methods and wanted not in [method.encode() for method in match.methods]:
            return False
        of_host = tuple(field for field in match.headers if field[0] == "host")
        return self.route_test(msgspec.structs.replace(match, methods=(), headers=of_host))(head, path)

    def route_test(self, match: Match) -> Callable[[RequestHead, bytes], bool]:
        """The conditions on the head, and that a redirect of the route leads somewhere else."""
        holds, answer = head_test(match), self.own_answer
        if answer is None or not answer.redirects:
            return holds
        return lambda head, path: holds(head, path) and not answer.leads_back(head)

    def assign(self, head: RequestHead, body: Any, client: bytes, draw: Draw) -> Assignment:
        """By the first key that is present and not empty, else by a draw from [0, 1)."""
        key = head.find_list(self.header, b", ") if self.header else self.key(head, body, client)
        if not key:
            if self.visits is not None:
                return self.assign_visitor(self.visits, head)
            return self.unkeyed[self.slots[int(draw() * BUCKETS)]]
        assignment = self.keyed.get(key)
        return self.assign_key(key) if assignment is None else assignment

    def assign_key(self, key: bytes) -> Assignment:
        hashed = hash_of(key, self.salt)
        assignment = Assignment(self.assignable[self.slots[hashed % BUCKETS]], hashed)
        remember(self.keyed, key, assignment, KEPT_KEYS, _KEPT_LENGTH)
        return assignment

    def assign_visitor(self, visits: Visits, head: RequestHead) -> Assignment:
        """By the id in the client's cookie, else by a new one.

        A new id counts as no key: a client that keeps no cookies has another one with each request, and would look like
        many customers with one request each, whose assignment was not drawn anew.
        """
        visit = visits.cookie.visit(head, visits.clock())
        if visit is None:
            visitor = visitor_of(visits.random_bytes(ID_BYTES))
            hashed = hash_of(visitor, self.salt)
            return Assignment(self.assignable[self.slots[hashed % BUCKETS]], None, visitor)
        assignment = self.keyed.get(visit.visitor) or self.assign_key(visit.visitor)
        if visit.renews:
            return Assignment(assignment.assigned, assignment.key, visit.visitor)
        return assignment


class Visits:
    """How a route assigns ids: its cookie, the wall clock and the source of random bytes."""

    __slots__ = ("clock", "cookie", "random_bytes")

    def __init__(
        self, cookie: VisitorCookie, clock: Callable[[], float], random_bytes: Callable[[int], bytes]
    ) -> None:
        self.cookie = cookie
        self.clock = clock
        self.random_bytes = random_bytes

    def field(self, visitor: bytes, forwarded: bytes) -> bytes:
        """The Set-Cookie field."""
        return self.cookie.field(visitor, self.clock(), forwarded)


class OverridableRoute(CompiledRoute):
    """A route that accepts override tokens, since the proxy has a secret for them."""

    __slots__ = ("by_backend", "clock", "snapshot")

    def __init__(self, snapshot: Snapshot, clock: Callable[[], float], spec: Route) -> None:
        super().__init__(spec)
        self.snapshot = snapshot
        self.clock = clock
        self.by_backend = {name: AssignedBackend(spec, name, TESTER) for name in snapshot.backends}

    def assign(self, head: RequestHead, body: Any, client: bytes, draw: Draw) -> Assignment:
        """The token's backend if there is a token, else by the split. Raises RequestRefused."""
        if head.override is None:
            return super().assign(head, body, client, draw)
        backend = read_token(self.snapshot.override_secret, head.override, self.spec.name, self.clock())
        if backend not in self.by_backend:
            raise RequestRefused(Stage.OVERRIDE, "The override token names an unknown backend.")
        return Assignment(self.by_backend[backend], None)


def need_body(candidates: tuple[CompiledRoute, ...]) -> bool:
    """Whether any of the candidates reads the body. The usual case is one candidate."""
    return candidates[0].needs_body if len(candidates) == 1 else any(r.needs_body for r in candidates)


def matching(candidates: tuple[CompiledRoute, ...], body: Any) -> tuple[CompiledRoute, ...]:
    """The candidates whose conditions on the body hold too; the first one gets the request."""
    return tuple([route for route in candidates if route.body_test is None or route.body_test(body)])


class Router:
    """All routes of a snapshot. Routes are indexed by exact path, then by_backend in file order."""

    def __init__(
        self,
        snapshot: Snapshot,
        clock: Callable[[], float] | None = None,
        random_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        """`clock` gives seconds since the epoch; it is read for requests with an override token or an assigned key only."""
        self.snapshot = snapshot
        compiled: Callable[[Route], CompiledRoute] = CompiledRoute
        if snapshot.override_secret and clock is not None:
            compiled = partial(OverridableRoute, snapshot, clock)
        self.routes = tuple(compiled(route) for route in snapshot.routes)
        if clock is not None and random_bytes is not None and snapshot.cookie_secrets:
            for route in self.routes:
                for sticky in route.spec.sticky:
                    if sticky.assigned is not None:
                        cookie = VisitorCookie(sticky.assigned, snapshot.cookie_secrets)
                        route.visits = Visits(cookie, clock, random_bytes)
        self.has_latency_limits = any(route.spec.limits for route in self.routes)
        self.by_path: dict[bytes, tuple[CompiledRoute, ...]] = {}
        for route in self.routes:
            path = route.spec.match.path
            if path is not None and path.encode() not in self.by_path:
                self.by_path[path.encode()] = self.routes_of_path(path)
        self.routes_of_other_paths = self.routes_of_path(None)
        self.has_cors = any(route.cors is not None for route in self.routes)

    def routes_of_path(self, path: str | None) -> tuple[CompiledRoute, ...]:
        """The routes that can match this exact path, in file order; None: any path that no route names."""
        return tuple(r for r in self.routes if r.spec.match.path in (None, path))

    def candidates(self, head: RequestHead, path: bytes = b"") -> tuple[CompiledRoute, ...]:
        """Routes whose conditions on the head hold, up to the first without conditions on the body.

        `path`: in place of the head's. Raises RequestRefused.
        """
        if not path:
            start = head.start
            path = start.path if start.spelled is None else self.path_of(head, start.spelled)
        found: tuple[CompiledRoute, ...] = ()
        for route in self.by_path.get(path, self.routes_of_other_paths):
            if route.path_only or route.head_test(head, path):
                found = (*found, route) if found else route.only_candidate
                if route.body_test is None:
                    break
        return found

    def preflight_route(self, head: RequestHead) -> CompiledRoute | None:
        """The route whose CORS answers this request; None if it is no preflight, or goes the usual way.

        A browser asks before it sends the request itself: with that request's path and query, but without its method,
        its body, and fields other than Host. So conditions on these are not tested.
        """
        wanted = head.field(b"access-control-request-method")
        if wanted is None or head.field(b"origin") is None:
            return None
        start = head.start
        path = start.path if start.spelled is None else self.path_of(head, start.spelled)
        for route in self.by_path.get(path, self.routes_of_other_paths):
            if route.preflight_test(head, path, wanted):
                return route if route.cors is not None else None
            if (
                route.cors is None
                and route.body_test is None
                and (route.path_only or route.head_test(head, path))
            ):
                return None  # a route for OPTIONS itself
        return None

    def path_of(self, head: RequestHead, spelled: bytes) -> bytes:
        """The path that routes are matched with, for a path that is not plain.

        Raises RequestRefused if the servers behind the proxy may read it as a path of other routes: such a request would
        get past the limits of the route that its path has there.
        """
        snapshot = self.snapshot
        try:
            path, *others = readings(spelled, snapshot.merge_slashes, snapshot.encoded_slashes)
        except BadPath as error:
            raise RequestRefused(Stage.PARSE, str(error)) from None
        if others:
            candidates = list(self.candidates(head, path))
            if any(list(self.candidates(head, other)) != candidates for other in others):
                raise RequestRefused(
                    Stage.PARSE, "The path can be read in several ways, which have different routes."
                )
        return path
