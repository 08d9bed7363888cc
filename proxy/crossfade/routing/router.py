"""The router: from a request to a route, a bucket and a backend.

The backend is chosen before anyone looks at health (an outage must not reshape an experiment); the
endpoint within it comes later, in `balance`. Built once for each snapshot, read by every request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.head import RequestHead
from crossfade.http1.memory import remember
from crossfade.routing.key import first_key
from crossfade.routing.ledger import BUCKETS, hash_of
from crossfade.routing.match import body_test, head_test
from crossfade.routing.override import read_token
from crossfade.routing.rate import RateLimit
from crossfade.routing.snapshot import TESTER, Role, Route, Snapshot

KEPT_KEYS = 4096
_KEPT_LENGTH = 64  # bytes


class AssignedBackend:
    """One backend of a route, in its part in the experiment. Outcomes are counted under `cell`."""

    __slots__ = ("backend", "cell", "limits", "role")

    def __init__(self, spec: Route, backend: str, role: Role) -> None:
        self.backend = backend
        self.role = role
        self.cell = (spec.name, backend, role, spec.ledger.version)
        self.limits = spec.limits.get(backend, ())


Assignment = tuple[
    AssignedBackend, int | None
]  # and the hash of the sticky key; None where the bucket was drawn


class CompiledRoute:
    """A route with its conditions and key sources as functions."""

    __slots__ = (
        "alone",
        "assignable",
        "body_limit",
        "body_test",
        "decides",
        "drawn",
        "fallback",
        "head_test",
        "inspect_limit",
        "key",
        "known",
        "limits",
        "mirrors",
        "needs_body",
        "plain",
        "prediction",
        "rate",
        "salt",
        "slots",
        "spec",
        "version",
    )

    def __init__(self, spec: Route) -> None:
        self.spec = spec
        self.alone: tuple[CompiledRoute, ...] = (self,)
        self.head_test = head_test(spec.match)
        self.body_test = body_test(spec.match)
        self.key = first_key(spec.sticky)
        self.rate = RateLimit(spec.rate, spec.salt) if spec.rate is not None else None
        self.needs_body = (
            self.body_test is not None
            or any(s.kind == "json" for s in spec.sticky)
            or (self.rate is not None and self.rate.needs_body)
        )
        self.slots = spec.ledger.slots
        self.version = spec.ledger.version
        self.assignable = tuple(map(partial(AssignedBackend, spec), spec.ledger.backends, spec.roles))
        self.drawn: tuple[Assignment, ...] = tuple((assigned, None) for assigned in self.assignable)
        self.known: dict[bytes, Assignment] = {}  # customers come again; a look-up costs a tenth of a hash
        self.salt = spec.salt
        self.body_limit, self.inspect_limit = spec.body_limit, spec.inspect_limit
        self.fallback, self.mirrors = spec.fallback, spec.mirrors
        self.limits = spec.limits
        self.prediction = spec.prediction
        self.decides = spec.prediction is not None and spec.prediction.decides
        self.plain = not spec.limits and spec.prediction is None  # nothing is asked of its answers

    def assign(self, head: RequestHead, body: Any, client: bytes, draw: float) -> Assignment:
        """By the first key that is present and not empty; without one, the draw decides; 0 ≤ draw < 1."""
        key = self.key(head, body, client)
        if key:
            return self.known.get(key) or self.assign_key(key)
        return self.drawn[self.slots[int(draw * BUCKETS)]]

    def assign_key(self, key: bytes) -> Assignment:
        hashed = hash_of(key, self.salt)
        assignment = (self.assignable[self.slots[hashed % BUCKETS]], hashed)
        remember(self.known, key, assignment, KEPT_KEYS, _KEPT_LENGTH)
        return assignment


class OverridableRoute(CompiledRoute):
    """A route of a proxy that has a secret for override tokens."""

    __slots__ = ("clock", "snapshot", "tested")

    def __init__(self, snapshot: Snapshot, clock: Callable[[], float], spec: Route) -> None:
        super().__init__(spec)
        self.snapshot = snapshot
        self.clock = clock
        self.tested = {name: AssignedBackend(spec, name, TESTER) for name in snapshot.backends}

    def assign(self, head: RequestHead, body: Any, client: bytes, draw: float) -> Assignment:
        """As the token says, if there is one, whatever the split. Raises RequestRefused."""
        if head.override is None:
            return super().assign(head, body, client, draw)
        backend = read_token(self.snapshot.override_secret, head.override, self.spec.name, self.clock())
        if backend not in self.tested:
            raise RequestRefused(Stage.OVERRIDE, "The override token names a backend that is not there.")
        return self.tested[backend], None


def need_body(candidates: Sequence[CompiledRoute]) -> bool:
    """Does any of them ask something of the body? Mostly there is just one."""
    return candidates[0].needs_body if len(candidates) == 1 else any(r.needs_body for r in candidates)


def matching(candidates: Iterable[CompiledRoute], body: Any) -> list[CompiledRoute]:
    """Those of these routes whose conditions on the body hold as well; the first of them has the request."""
    return [route for route in candidates if route.body_test is None or route.body_test(body)]


class Router:
    """All routes of a snapshot. Exact paths are looked up; what they do not settle is walked in file order."""

    def __init__(self, snapshot: Snapshot, clock: Callable[[], float] | None = None) -> None:
        """`clock` gives seconds since the epoch; it is asked for requests with an override token only."""
        self.snapshot = snapshot
        compiled: Callable[[Route], CompiledRoute] = CompiledRoute
        if snapshot.override_secret and clock is not None:
            compiled = partial(OverridableRoute, snapshot, clock)
        self.routes = tuple(compiled(route) for route in snapshot.routes)
        self.watched = any(route.limits for route in self.routes)  # is there anything that can be too slow?
        self.by_path: dict[bytes, tuple[CompiledRoute, ...]] = {}
        for route in self.routes:
            path = route.spec.match.path
            if path is not None and path.encode() not in self.by_path:
                self.by_path[path.encode()] = self.walk(path)
        self.others = self.walk(None)

    def walk(self, path: str | None) -> tuple[CompiledRoute, ...]:
        """The routes that may match a request for this exact path, in file order."""
        return tuple(r for r in self.routes if r.spec.match.path in (None, path))

    def candidates(self, head: RequestHead) -> Sequence[CompiledRoute]:
        """Routes whose conditions on the head hold, up to the first that asks nothing of the body."""
        found: Sequence[CompiledRoute] = ()
        for route in self.by_path.get(head.start.path, self.others):
            if route.head_test(head):
                found = (*found, route) if found else route.alone
                if route.body_test is None:
                    break
        return found
