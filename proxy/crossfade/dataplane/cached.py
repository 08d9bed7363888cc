"""The response cache on the way of a request: answers from it, and keeps what a model answers.

Rule: the backend is assigned first, so a cache never changes a split. A hit is the model's whole answer, byte for byte, with the
fields of its own exchange: request id, age, cookie of a sticky key, CORS. It asks nobody, takes no place in flight, is not
mirrored, and is counted under the role `cached`, which no rollout reads.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from crossfade.dataplane import awaiting
from crossfade.dataplane.lookup import Lookup
from crossfade.http1.response_head import ResponseHead
from crossfade.routing.caching import PASS_BY, RENEW, CachedAnswer

if TYPE_CHECKING:
    from crossfade.dataplane.endpoint import BackendState
    from crossfade.dataplane.plane import Plane
    from crossfade.dataplane.state import ExchangeState

_MISS: Final = b"x-crossfade-cache: miss"


def begin(plane: Plane, exchange: ExchangeState, backend: BackendState) -> bool:
    """Whether the exchange has ended with an answer of the cache, or waits for the rest of its body. Raises RequestRefused."""
    cache, head = exchange.route.cache, exchange.head
    assert cache is not None
    accepted = cache.rules.asks(head)
    if accepted == PASS_BY or head.length > exchange.route.replay_limit:
        plane.recorder.cache(exchange.route.name, "bypass")
        return False
    exchange.lookup = lookup = Lookup(cache, accepted)
    exchange.answering = backend
    return answers(plane, exchange, lookup)


def answers(plane: Plane, exchange: ExchangeState, lookup: Lookup) -> bool:
    """As `begin`, with more of the body."""
    cache, route = lookup.cache, exchange.route
    if lookup.key:
        return False
    if exchange.kept > route.replay_limit or exchange.trailers or (exchange.kept and not cache.rules.by_body):
        exchange.lookup = None
        plane.recorder.cache(route.name, "bypass")
        return False
    if not exchange.request_done:
        awaiting.wait_for_body(plane, exchange)
        return True
    backend = exchange.answering.spec.name
    lookup.key = cache.rules.key(backend, exchange.head, exchange.whole_body())
    now = monotonic()
    found = None
    if lookup.accepted != RENEW and plane.caches.get(route.name) is cache:  # not of an earlier ledger
        found = cache.find(lookup.key, now, lookup.accepted)
    exchange.has_more_fields = True
    if found is None:
        exchange.cache_fields = _MISS
        plane.recorder.cache(route.name, "miss")
        return False
    plane.recorder.cache(route.name, "hit")
    _answer(exchange, found, now)
    return True


def _answer(exchange: ExchangeState, found: CachedAnswer, now: float) -> None:
    route, head = exchange.route, found.head
    exchange.lookup = None
    exchange.awaits_body = exchange.expecting = False
    exchange.assigned = route.cached[exchange.answering.spec.name]
    exchange.cache_fields = b"x-crossfade-cache: hit\r\nage: %d" % found.age(now)
    if route.answer_fields is not None:
        head = route.answer_fields.edited(head, exchange.head)
    exchange.status = head.status
    exchange.first_byte_at = now
    exchange.sent = len(found.body)
    if route.reads:
        exchange.said = found.body
    exchange.client.answer(head, found.body, True)
    exchange.answer = head
    exchange.finish(now)


def gather(
    plane: Plane, exchange: ExchangeState, lookup: Lookup, head: ResponseHead, body: bytes, done: bool
) -> None:
    """Keep an answer, if it may be given again; `head` and `body` are as the model sent them."""
    now = monotonic()
    delay = now - exchange.started
    if not exchange.fell_back:
        fresh, age = lookup.cache.rules.fresh_for(head, delay)
        if fresh > 0.0:
            lookup.times = (now - delay - age, now + fresh)
            lookup.head = head
    gather_more(plane, exchange, lookup, body, done)


def gather_more(plane: Plane, exchange: ExchangeState, lookup: Lookup, data: bytes, done: bool) -> None:
    """The next part of its body. The usual answer comes in one part, and is not copied."""
    cache, head, so_far = lookup.cache, lookup.head, lookup.gathered
    if head is not None and not done and cache.may_gather(len(data), len(so_far)):
        so_far += data
        return
    if head is not None and done:
        body = bytes(so_far + data) if so_far else data
        if cache.keep(lookup.key, head, body, plane.date, lookup.times):
            plane.recorder.cache(exchange.route.name, "kept")
    lookup.end()
    exchange.lookup = None
