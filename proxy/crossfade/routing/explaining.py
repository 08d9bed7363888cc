"""Why a request would go where it goes: the route, the key, the bucket, the backend, and what would change it.

Rule: what decides here is what decides for requests: the parser, the router's tests, the key's sources, the ledger. This module
only keeps what they found on the way, and asks a ledger of other weights where the key would be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.forwarded import TrustedProxies, canonical, forwarding_of_client, forwarding_of_proxy
from crossfade.http1.request_head import RequestHead, parse_request
from crossfade.routing.explanation import (
    AskedRequest,
    Copy,
    EndpointChoice,
    Explanation,
    FoundKey,
    KeyMove,
    Refusal,
    RouteTest,
)
from crossfade.routing.json_path import JsonScan
from crossfade.routing.key import decode_json, key_source
from crossfade.routing.ledger import BUCKETS, Ledger, hash_of, reweigh
from crossfade.routing.match import body_test, head_test
from crossfade.routing.path_values import tree_of
from crossfade.routing.rewriting import rewriting_of
from crossfade.routing.router import CompiledRoute, Router, matching, need_body
from crossfade.routing.snapshot import TESTER, Backend, Endpoint, Match, Rewrite, Snapshot, Sticky
from crossfade.scale import WHOLE

DECODED: Final = 65_536  # bytes of a body that is decoded whole; a longer one is scanned, as `inspect` allows
NO_HEADERS: Mapping[str, str | list[str]] = {}


class Steps(NamedTuple):
    """Of a rollout: the challenger's weights out of 10 000, step by step, which it gets from the champion."""

    champion: str
    challenger: str
    weights: tuple[int, ...]


RolloutsBy = Mapping[str, Sequence[Steps]]  # by route


class _Asked(NamedTuple):
    """`rollouts`: of the proxy. `now`: seconds since the epoch."""

    rollouts: RolloutsBy
    now: float


class _Request(NamedTuple):
    head: RequestHead
    client: bytes
    body: bytes


def explain(router: Router, asked: AskedRequest, rollouts: RolloutsBy, now: float) -> Explanation:
    """`router`: with a clock, if the snapshot has a secret of override tokens. `now`: seconds since the epoch, for assigned cookies.

    Raises ValueError for what cannot be sent as a request at all: a line break in a header field, an address that is none.
    """
    raw, body = _raw(asked), asked.body.encode()
    client = canonical(asked.client)
    out = Explanation(client.decode(), [])
    try:
        request = _Request(*_parsed(router.snapshot, raw, client, asked.tls), body)
        out.client = request.client.decode()
        _route(router, request, out, _Asked(rollouts, now))
    except RequestRefused as refusal:
        out.refused = Refusal(refusal.status, refusal.detail)
        out.because.append(f"The proxy answers {refusal.status}: {refusal.detail}")
    return out


def _raw(asked: AskedRequest) -> bytes:
    lines = [f"{asked.method} {asked.target} HTTP/1.1"]
    names = set[str]()
    for name, values in asked.headers.items():
        names.add(name.lower())
        lines += [f"{name}: {value}" for value in ([values] if isinstance(values, str) else values)]
    if "host" not in names:
        lines.append("Host: localhost")
    if asked.body and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(asked.body.encode())}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break is in the method, the target or a header field")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")


def _parsed(snapshot: Snapshot, raw: bytes, peer: bytes, secure: bool) -> tuple[RequestHead, bytes]:
    """The head, and the client's address."""
    if len(raw) > snapshot.head_bytes:
        raise RequestRefused(Stage.LIMIT, "The head is too large.", 431)
    head = parse_request(raw, snapshot.head_count)
    trusted = TrustedProxies(snapshot.trusted_proxies)
    if trusted.is_within(peer):
        client, head.forwarded, head.public_host = forwarding_of_proxy(raw, peer, secure, trusted)
        head.fields += head.claims
        return head, client
    head.forwarded = forwarding_of_client(peer, secure).lines
    return head, peer


def _route(router: Router, request: _Request, out: Explanation, context: _Asked) -> None:
    """Raises RequestRefused."""
    head = request.head
    if router.has_cors and head.method == b"OPTIONS" and (cors := router.preflight_route(head)):
        out.route, out.how = cors.name, "preflight"
        out.because.append(f"The proxy answers this preflight itself, as `cors` of {cors.name} says.")
        return
    candidates = router.candidates(head)
    content = _content(request.body, candidates) if candidates and need_body(candidates) else None
    found = matching(candidates, content) if candidates and need_body(candidates) else candidates
    route = found[0] if found else None
    out.tested = _tested(router, request, content, route)
    if route is None:
        raise RequestRefused(Stage.NO_ROUTE)
    out.route = route.name
    out.because.append(f"Route {route.name} is the first in the file whose conditions hold.")
    if route.body_limit is not None and len(request.body) > route.body_limit:
        raise RequestRefused(Stage.LIMIT)
    own = route.own_answer
    if own is not None:
        out.how = "own_answer"
        said = f"redirects to {own.target(head).decode()}" if own.redirects else "answers itself"
        out.because.append(f"The route {said}, with status {own.spec.status}.")
        return
    _assign(router.snapshot, route, request, content, out, context)


def _content(body: bytes, candidates: Sequence[CompiledRoute]) -> Any:
    """What gives the values of JSON fields to `json_field`. Raises RequestRefused."""
    limit = max(route.inspect_limit for route in candidates if route.needs_body)
    if not body or len(body) <= min(DECODED, limit):
        return decode_json(body)
    scan = JsonScan(tree_of(tuple(path for route in candidates for path in route.json_paths)))
    scan.feed(body[:limit])
    is_cut = len(body) > limit and not scan.found and not scan.ended
    if len(body) <= limit:
        scan.end()
    else:
        scan.stop()
    if scan.repeated:
        raise RequestRefused(Stage.PARSE, "A field of the JSON body that the route reads comes twice.")
    if is_cut and any(route.needs_body and not route.absent_beyond for route in candidates):
        scan.refused_beyond = limit
    return None if scan.invalid and not scan.found else scan


def _tested(router: Router, request: _Request, content: Any, chosen: CompiledRoute | None) -> list[RouteTest]:
    head = request.head
    path = head.start.path if head.start.spelled is None else router.path_of(head, head.start.spelled)
    out = []
    for route in router.routes:
        if route is chosen:
            out.append(RouteTest(route.name, ""))
            break
        out.append(RouteTest(route.name, _first_broken(route, head, path, content)))
    return out


def _first_broken(route: CompiledRoute, head: RequestHead, path: bytes, content: Any) -> str:
    for said, single in _conditions(route.spec.match):
        test = body_test(single)
        if not (head_test(single)(head, path) if test is None else test(content)):
            return said
    if route.own_answer is not None and route.own_answer.leads_back(head):
        return "the request is where it would be redirected to"
    return "an earlier route has the request"


def _conditions(match: Match) -> Iterator[tuple[str, Match]]:
    """Each condition alone, with what it asks in words."""
    if match.path is not None:
        yield f"the path must be {match.path}", Match(path=match.path)
    if match.prefix is not None:
        yield f"the path must begin with {match.prefix}", Match(prefix=match.prefix)
    if match.regex is not None:
        yield f"the path must match {match.regex}", Match(regex=match.regex)
    if match.methods:
        yield f"the method must be {' or '.join(match.methods)}", Match(methods=match.methods)
    for name, value in match.headers:
        yield f"header {name} must be {_wanted(value)}", Match(headers=((name, value),))
    for name, value in match.query:
        yield f"query parameter {name} must be {_wanted(value)}", Match(query=((name, value),))
    for name, known in match.json:
        text = msgspec.json.encode(known).decode()
        yield f"JSON field {name} of the body must be {text}", Match(json=((name, known),))


def _wanted(value: str) -> str:
    return "there" if value == "*" else f'"{value}"'


def _assign(
    snapshot: Snapshot,
    route: CompiledRoute,
    request: _Request,
    content: Any,
    out: Explanation,
    context: _Asked,
) -> None:
    """Raises RequestRefused."""
    spec, head = route.spec, request.head
    ledger = spec.ledger
    assignment = route.assign(head, content, request.client, _no_draw)
    out.ledger_version = ledger.version
    out.fallback = spec.fallback
    for mirror in spec.mirrors:
        to = snapshot.backends[mirror.to]
        target = _target(mirror.request or to.request, to.endpoints[0], route, head)
        out.mirrors.append(Copy(mirror.to, mirror.sample / WHOLE, target))
    roles = dict(zip(ledger.backends, spec.roles, strict=True))
    if assignment.assigned.role == TESTER:
        out.how, out.backend, out.role = "override", assignment.assigned.backend, TESTER
        out.because.append(f"A valid override token selects {out.backend}; no rollout counts the request.")
    else:
        key = _found_key(route, request, content, out, context.now)
        if key is None:
            _by_draw(out, ledger)
        else:
            _by_key(out, route, key, context.rollouts.get(spec.name, ()))
            out.role = roles[str(out.backend)]
    chosen = [out.backend] if out.backend is not None else list(out.chances)
    out.endpoints = [choice for name in chosen for choice in _endpoints(snapshot.backends[name], route, head)]
    if out.backend is not None and (said := _without_endpoint(snapshot, out.backend, out.fallback)):
        out.because.append(said)


def _without_endpoint(snapshot: Snapshot, name: str, fallback: str | None) -> str:
    """Who answers where no endpoint is up; empty while one is. In a panic those that are down are asked, unless the fallback is up."""
    backend, other = snapshot.backends[name], None if fallback is None else snapshot.backends[fallback]
    if _has(backend, up=True):
        return ""
    in_panic = _has(backend)
    if other is not None and _has(other, up=in_panic):
        return f"No endpoint of {name} is up now: {fallback} answers, as the fallback."
    if in_panic:
        return f"No endpoint of {name} is up now: they get requests as if they were, which is a panic."
    return f"All endpoints of {name} are drained: the client gets a 503."


def _has(backend: Backend, up: bool = False) -> bool:
    """Whether it has an endpoint that is not drained; `up`: and that is up."""
    return any(endpoint.weight and (endpoint.up or not up) for endpoint in backend.endpoints)


def _no_draw() -> float:
    """The first bucket: a draw is explained by its chances, not made."""
    return 0.0


def _found_key(
    route: CompiledRoute, request: _Request, content: Any, out: Explanation, now: float
) -> bytes | None:
    """The first key; all sources are noted."""
    key = None
    for sticky in route.spec.sticky:
        found = _key_of(route, sticky, request, content, now)
        out.keys.append(FoundKey(spelled(sticky), None if not found else found.decode(errors="replace")))
        key = key or found or None
    return key


def _key_of(
    route: CompiledRoute, sticky: Sticky, request: _Request, content: Any, now: float
) -> bytes | None:
    if sticky.assigned is None:
        return key_source(sticky)(request.head, content, request.client)
    visit = route.visits.cookie.visit(request.head, now) if route.visits is not None else None
    return None if visit is None else visit.visitor


def spelled(sticky: Sticky) -> str:
    """As in the file: `json:customer_id`, `client_ip`."""
    name = sticky.assigned.cookie if sticky.assigned is not None else sticky.name
    return f"{sticky.kind}:{name}" if name else sticky.kind


def _by_draw(out: Explanation, ledger: Ledger) -> None:
    out.how = "draw"
    out.chances = {name: weight / WHOLE for name, weight in ledger.weights.items() if weight}
    if len(out.chances) == 1:
        out.backend = next(iter(out.chances))
        out.because.append(f"{out.backend} has the whole route.")
    elif out.keys and out.keys[-1].source.startswith("assign:"):
        out.because.append(
            "The request has no key: the client gets a new id in a cookie, and keeps its backend."
        )
    else:
        said = "has none of the route's sticky keys" if out.keys else "is on a route without a sticky key"
        out.because.append(f"The request {said}: a backend is drawn for each request.")


def _by_key(out: Explanation, route: CompiledRoute, key: bytes, rollouts: Sequence[Steps]) -> None:
    ledger, hashed = route.spec.ledger, hash_of(key, route.salt)
    bucket = hashed % BUCKETS
    out.how, out.key = "key", key.decode(errors="replace")
    out.hash, out.bucket = f"{hashed:016x}", bucket
    out.backend = ledger.backends[ledger.slots[bucket]]
    out.chances = {out.backend: 1.0}
    out.moves = list(moves_of(ledger, bucket, route.salt, rollouts))
    source = next(found.source for found in out.keys if found.found)
    out.because.append(
        f"Its key {out.key} ({source}) is in bucket {bucket} of {BUCKETS}, which ledger version {ledger.version} "
        f"gives to {out.backend}."
    )


def moves_of(ledger: Ledger, bucket: int, salt: bytes, rollouts: Sequence[Steps]) -> Iterator[KeyMove]:
    """For each other backend, the least weight at which it gets this bucket, all taken from the one that has it."""
    weights = ledger.weights
    holder = ledger.backends[ledger.slots[bucket]]
    for other in dict.fromkeys((*ledger.backends, *(rollout.challenger for rollout in rollouts))):
        if other != holder:
            shift = _least_shift(ledger, (holder, other), bucket, salt)
            after = _shifted(weights, (holder, other), shift)
            steps = [r.weights for r in rollouts if (r.champion, r.challenger) == (holder, other)]
            enough = (
                [number for number, weight in enumerate(steps[0]) if weight >= after[other]] if steps else []
            )
            shares = {name: weight / WHOLE for name, weight in after.items() if weight}
            yield KeyMove(other, shares, enough[0] if enough else None)


def _shifted(weights: Mapping[str, int], pair: tuple[str, str], shift: int) -> dict[str, int]:
    holder, other = pair
    return {**weights, holder: weights[holder] - shift, other: weights.get(other, 0) + shift}


def _least_shift(ledger: Ledger, pair: tuple[str, str], bucket: int, salt: bytes) -> int:
    """By bisection: a backend that grows keeps its buckets (law 2), so what has moved stays moved."""
    holder, weights = pair[0], ledger.weights
    low, high = 0, weights[holder]  # it has not moved at `low`, and has at `high`
    while high - low > 1:
        middle = (low + high) // 2
        after = reweigh(ledger, _shifted(weights, pair, middle), salt)
        if after.backends[after.slots[bucket]] == holder:
            low = middle
        else:
            high = middle
    return high


def _endpoints(backend: Backend, route: CompiledRoute, head: RequestHead) -> Iterator[EndpointChoice]:
    for endpoint in backend.endpoints:
        state = "drained" if endpoint.weight == 0 else "up" if endpoint.up else "down"
        target = _target(backend.request, endpoint, route, head)
        yield EndpointChoice(endpoint.url or endpoint.name, state, endpoint.weight, target)


def _target(spec: Rewrite | None, endpoint: Endpoint, route: CompiledRoute, head: RequestHead) -> str:
    rewriting = rewriting_of(spec, endpoint, None)
    line = head.start.request_line if rewriting is None else rewriting.request_line(head.start, route.matched)
    return line.split(b" ")[1].decode()
