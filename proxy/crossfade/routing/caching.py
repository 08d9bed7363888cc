"""The response cache of one route: which requests it may answer, which answers it keeps, and for how long.

Rule: an answer is given again only to a request that is the same in all that its model may read and that the route does not
declare without meaning (RFC 9111, more strictly: docs/cache.md). In doubt the model is asked. One cache belongs to one
value of the route and its backends: of another ledger, configuration or address there is another cache, which is empty.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from msgspec.structs import replace

from crossfade.http1.freshness import Freshness, directives_of, seconds_of
from crossfade.http1.headers import without
from crossfade.http1.request_head import RequestHead
from crossfade.http1.response_head import UNTIL_CLOSE, ResponseHead
from crossfade.routing.snapshot import Backend, Cache, Route

ANY_AGE: Final = float("inf")
RENEW: Final = -1.0  # no answer is old enough: the model is asked, and its answer is kept
PASS_BY: Final = -2.0
LARGEST: Final = 1024 * 1024  # bytes of an answer's body
OVERHEAD: Final = 1024  # bytes of memory that an answer takes beside its head and body
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST"})
_ALWAYS: Final = (
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"content-encoding",
    b"content-language",
    b"content-type",
    b"origin",
)  # fields of a request that are always part of the key
_PERSONAL: Final = frozenset({b"authorization", b"cookie"})
_OF_ONE_ANSWER: Final = frozenset(
    {
        b"range",
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"if-range",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
    }
)
_ABOUT_CACHES: Final = frozenset({b"cache-control", b"pragma"})
_AGE: Final = frozenset({b"age"})


class CacheRules:
    """What RFC 9111 and the route say, without the answers. `named`: fields of a request that are part of the key; `varied`: by which an answer may differ."""

    __slots__ = ("by_body", "named", "own_cookies", "ttl", "varied", "watched")

    def __init__(self, spec: Cache, route: Route) -> None:
        self.ttl = spec.ttl
        self.by_body = spec.body
        self.named = (*_ALWAYS, *[name.encode("ascii") for name in spec.fields], *_names_of_customers(route))
        self.varied = frozenset((*self.named, b"host", b""))
        self.own_cookies = frozenset(each.name.encode() for each in route.sticky if each.kind == "assign")
        self.watched = (_PERSONAL - frozenset(self.named)) | _OF_ONE_ANSWER | _ABOUT_CACHES

    def asks(self, head: RequestHead) -> float:
        """The greatest age in seconds of an answer that the request takes, or RENEW, or PASS_BY."""
        if head.start.method not in _METHODS or head.upgrade is not None or head.override is not None:
            return PASS_BY
        if head.takes_trailers:  # they come behind an answer, and are not kept
            return PASS_BY
        accepted = ANY_AGE
        for field in head.fields:
            name = field.name
            if name not in self.watched:
                continue
            if name == b"cookie":
                if not self.has_own_cookies_only(field.value):
                    return PASS_BY
            elif name not in _ABOUT_CACHES:
                return PASS_BY
            else:
                accepted = min(accepted, _accepted_age(field.value))
        return accepted

    def has_own_cookies_only(self, cookies: bytes) -> bool:
        """Whether they are ids that the proxy assigned, and say nothing else of the client."""
        return all(pair.partition(b"=")[0].strip(b" \t") in self.own_cookies for pair in cookies.split(b";"))

    def key(self, backend: str, head: RequestHead, body: bytes) -> bytes:
        """32 bytes: no key holds a prompt, and none is found that has the hash of another one."""
        start = head.start
        parts = [backend.encode(), start.method, head.host or b"", head.public_host or b"", start.target]
        for name in self.named:
            values = [field.value for field in head.fields if field.name == name]
            parts.append(b"%d" % len(values))
            parts.extend(values)
        parts.extend([claim.line for claim in head.claims])
        hashed = blake2b(b"".join([b"%d:%b" % (len(part), part) for part in parts]), digest_size=32)
        hashed.update(b"\0")
        hashed.update(body)
        return hashed.digest()

    def fresh_for(self, head: ResponseHead, delay: float) -> tuple[float, float]:
        """Seconds for which the answer may be given again (0: not once), and its age when it was sent.

        `delay`: between request and answer.
        """
        if head.status != 200 or head.length == UNTIL_CLOSE:
            return 0.0, 0.0
        said = Freshness(head.block)
        if not said.again or not all(map(self.covers, said.vary)):
            return 0.0, 0.0
        return max(min(self.ttl, said.lifetime() - said.age - delay), 0.0), said.age

    def covers(self, vary: bytes) -> bool:
        """Whether all fields on which the answer depends are part of the key."""
        return all(name.strip(b" \t").lower() in self.varied for name in vary.split(b","))


def _names_of_customers(route: Route) -> list[bytes]:
    """The fields that tell customers apart: their sticky keys are there."""
    fields = [each.name.lower().encode() for each in route.sticky if each.kind == "header"]
    return [*fields, b"cookie"] if any(each.kind == "cookie" for each in route.sticky) else fields


def _accepted_age(value: bytes) -> float:
    """Of Cache-Control or Pragma in a request."""
    accepted = ANY_AGE
    for directive, argument in directives_of(value):
        if directive == b"no-store":
            return PASS_BY
        if directive in (b"no-cache", b"min-fresh"):  # a new answer is as fresh as any
            accepted = RENEW
        elif directive == b"max-age":
            seconds = seconds_of(argument, 0.0)
            accepted = min(accepted, seconds if seconds else RENEW)
    return accepted


class CachedAnswer:
    """An answer as its model gave it. `born`: when it was made, `until`: as long as it is fresh; of the monotonic clock."""

    __slots__ = ("body", "born", "head", "size", "until")

    def __init__(self, head: ResponseHead, body: bytes, born: float, until: float) -> None:
        self.head = head
        self.body = body
        self.born = born
        self.until = until
        self.size = OVERHEAD + 2 * len(head.block) + len(body)  # the head is spelled out beside its fields

    def age(self, now: float) -> int:
        """Whole seconds."""
        return max(int(now - self.born), 0)


class AnswerCache:
    """The answers of one worker on one route; those that were not asked for longest leave first. `size`: bytes, at most `most`.

    `gathered`: bytes of answers that are still arriving, at most `most` as well.
    """

    __slots__ = ("answers", "gathered", "identity", "most", "rules", "size")

    def __init__(self, spec: Cache, route: Route, identity: tuple[Route, tuple[Backend, ...]]) -> None:
        self.rules = CacheRules(spec, route)
        self.identity = identity
        self.most = spec.max
        self.answers: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        self.size = self.gathered = 0

    def find(self, key: bytes, now: float, accepted: float) -> CachedAnswer | None:
        """A fresh answer of this age in seconds or less."""
        found = self.answers.get(key)
        if found is None:
            return None
        if now >= found.until:
            self.drop(key)
            return None
        if now - found.born > accepted:
            return None
        self.answers.move_to_end(key)
        return found

    def may_gather(self, more: int, so_far: int) -> bool:
        """Whether so many more bytes of an answer that arrives are kept; then they are counted."""
        if so_far + more > LARGEST or self.gathered + more > self.most:
            return False
        self.gathered += more
        return True

    def keep(
        self, key: bytes, head: ResponseHead, body: bytes, date: bytes, times: tuple[float, float]
    ) -> bool:
        """`date`: the line of a Date field for an answer without one. `times`: `born` and `until`. False: there is no room."""
        kept = CachedAnswer(_kept_head(head, date), body, *times)
        if len(body) > LARGEST or kept.size > self.most:
            return False
        self.drop(key)
        while self.size + kept.size > self.most:
            self.drop(next(iter(self.answers)))
        self.answers[key] = kept
        self.size += kept.size
        return True

    def drop(self, key: bytes) -> None:
        gone = self.answers.pop(key, None)
        if gone is not None:
            self.size -= gone.size


def _kept_head(head: ResponseHead, date: bytes) -> ResponseHead:
    """A head of its own: that of the answer may be shared, and is of this moment. Its age is written anew each time."""
    kept = ResponseHead(head.status, head.reason, True)
    kept.block = without(head.block, _AGE) + (b"" if head.dated else date)
    kept.length = head.length
    kept.dated = True
    return kept


def cache_of(route: Route, backends: dict[str, Backend], known: AnswerCache | None) -> AnswerCache | None:
    """The cache of a route in a new snapshot: the `known` one where nothing has changed that answers depend on.

    None where the route has none, and while a rollout of it can still fail: its checks compare what versions answer to the
    same kind of requests, and the version with more traffic would be spared more of them.
    """
    spec = route.cache
    if spec is None or route.guarded:
        return None
    identity = (route, tuple(_model_of(backends[name]) for name in route.ledger.backends))
    if known is not None and known.identity == identity:
        return known
    return AnswerCache(spec, route, identity)


def _model_of(backend: Backend) -> Backend:
    """Without what says only whether its endpoints are well."""
    return replace(
        backend, endpoints=tuple(replace(each, up=True, weight=1) for each in backend.endpoints), out=()
    )
