"""What the proxy answers itself: redirects, fixed answers, preflight requests of other origins (CORS); and which fields
it changes in the answers of a route.

Rule: an answer for another origin names that origin, never one that the configuration does not allow (Fetch standard,
section 3.2). A redirect without a host begins with one slash: with two, or a backslash, a browser would take it for a host.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from crossfade.http1.forwarded import HTTPS
from crossfade.http1.headers import without
from crossfade.http1.request_head import RequestHead
from crossfade.http1.response_head import ResponseHead
from crossfade.routing.match import matched_part
from crossfade.routing.rewriting import as_matched, behind
from crossfade.routing.snapshot import Cors, OwnAnswer, Route

_OF_CORS: Final = frozenset(
    {
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-allow-methods",
        b"access-control-allow-headers",
        b"access-control-expose-headers",
        b"access-control-max-age",
    }
)
_MAKE_A_GET: Final = frozenset({301, 302, 303})  # of a POST
_BODILESS: Final = frozenset({204, 304})
_VARY: Final = b"Vary: Origin\r\n"


def lines(fields: tuple[tuple[str, str], ...]) -> bytes:
    return b"".join([b"%b: %b\r\n" % (name.encode("ascii"), value.encode()) for name, value in fields])


def reason_of(status: int) -> bytes:
    """With its space; empty words for a status that HTTP does not name."""
    try:
        return b" " + HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b" "


class CompiledAnswer:
    """The answer of a route without backends."""

    __slots__ = ("block", "body", "matched", "reason", "redirects", "spec")

    def __init__(self, route: Route, spec: OwnAnswer) -> None:
        self.spec = spec
        self.redirects = spec.redirects
        self.body = spec.body
        self.reason = reason_of(spec.status)
        length = b"" if spec.status in _BODILESS else b"Content-Length: %d\r\n" % len(spec.body)
        self.block = length + lines(spec.fields)
        self.matched = matched_part(route.match)

    def head(self, request: RequestHead) -> ResponseHead:
        block = self.block
        if self.redirects:
            block = b"Location: %b\r\n%b" % (self.target(request), block)
        return new_head(self.spec.status, self.reason, block, len(self.body))

    def target(self, request: RequestHead) -> bytes:
        spec, start = self.spec, request.start
        path = self.path(request)
        query = start.target[len(start.path) :]
        host = spec.host.encode("ascii") if spec.host is not None else None
        if spec.scheme is None:
            return (b"//" + host if host is not None else b"") + path + query
        if host is None:
            host = _without_port(request.public_host or request.host or b"")
        if not host:  # an HTTP/1.0 request does not have to say it
            return path + query
        return b"%b://%b%b%b" % (spec.scheme.encode("ascii"), host, path, query)

    def leads_back(self, request: RequestHead) -> bool:
        """Whether a redirect leads to the request that was made: its route leaves such a request to the next one."""
        spec = self.spec
        if not self.redirects:
            return False
        if spec.scheme is not None and (spec.scheme == "https") != (HTTPS in request.forwarded):
            return False
        asked = request.public_host or request.host or b""
        if spec.host is not None and spec.host.lower().encode("ascii") != asked.lower():
            return False
        if spec.path is None and spec.prefix is None:
            return True
        becomes_get = spec.status in _MAKE_A_GET and request.method not in (b"GET", b"HEAD")
        return not becomes_get and self.path(request) == request.start.path

    def path(self, request: RequestHead) -> bytes:
        spec, start = self.spec, request.start
        if spec.path is not None:
            path = spec.path.encode("ascii")
        else:
            path = start.path
            if start.target == b"*":
                path = b"/"
            elif start.spelled is not None:
                path = as_matched(path, start.spelled, self.matched)
            if spec.prefix is not None:
                path = spec.prefix.rstrip("/").encode("ascii") + behind(path, self.matched)
        return b"/" + path.lstrip(b"/\\")  # browsers take // and /\ for the beginning of a host


class CompiledCors:
    """CORS of one route. `fields`: of a preflight's answer, behind the origin."""

    __slots__ = ("below", "credentials", "exact", "exposed", "fields", "for_all")

    def __init__(self, spec: Cors) -> None:
        self.for_all = "*" in spec.origins
        self.exact = frozenset(origin.encode("ascii") for origin in spec.origins if "*" not in origin)
        wild = [origin.encode("ascii").split(b"*") for origin in spec.origins if "://*." in origin]
        self.below = [(begin, end) for begin, end in wild]
        self.credentials = b"Access-Control-Allow-Credentials: true\r\n" if spec.credentials else b""
        self.exposed = _list(b"Access-Control-Expose-Headers", spec.expose)
        age = b"" if spec.max_age is None else b"Access-Control-Max-Age: %d\r\n" % spec.max_age
        self.fields = (
            _list(b"Access-Control-Allow-Methods", spec.methods)
            + _list(b"Access-Control-Allow-Headers", spec.headers)
            + age
        )

    def allows(self, origin: bytes) -> bool:
        if self.for_all or origin in self.exact:
            return True
        return any(
            origin.startswith(begin) and origin.endswith(end) and _is_host(origin[len(begin) : -len(end)])
            for begin, end in self.below
        )

    def origin_fields(self, request: RequestHead) -> bytes:
        """Empty for a request of the same origin, unless answers depend on the origin."""
        vary = b"" if self.for_all else _VARY
        origin = request.field(b"origin")
        if origin is None or not self.allows(origin):
            return vary
        shown = b"*" if self.for_all else origin
        return b"Access-Control-Allow-Origin: %b\r\n%b%b" % (shown, self.credentials, vary)

    def answer_fields(self, request: RequestHead) -> bytes:
        """For answers and errors: which origin may read them, and which of their fields beside those that it always may."""
        return self.origin_fields(request) + self.exposed

    def preflight(self, request: RequestHead) -> ResponseHead:
        fields = self.origin_fields(request)
        if fields not in (b"", _VARY):
            fields += self.fields
        return new_head(204, b" No Content", fields, 0)


class AnswerFields:
    """The fields that are changed in the answers of one route."""

    __slots__ = ("added", "cors", "for_problems", "removed")

    def __init__(self, route: Route, cors: CompiledCors | None) -> None:
        names = {name.encode("ascii") for name, _ in route.fields_set}
        self.removed = names | {name.encode("ascii") for name in route.fields_removed}
        if cors is not None:
            self.removed |= _OF_CORS
        self.added = lines(route.fields_set)
        self.for_problems = lines(tuple(f for f in route.fields_set if f[0] != "content-type"))
        self.cors = cors

    def edited(self, answer: ResponseHead, request: RequestHead) -> ResponseHead:
        head = new_head(
            answer.status, answer.reason, without(answer.block, self.removed) + self.added, answer.length
        )
        head.keep_alive, head.dated = answer.keep_alive, answer.dated
        head.upgrade, head.nominees = answer.upgrade, answer.nominees
        if self.cors is not None:
            head.block += self.cors.answer_fields(request)
        return head

    def of_problem(self, request: RequestHead) -> bytes:
        """For an error of the proxy: a web page of an allowed origin may read it too."""
        return self.for_problems + (self.cors.answer_fields(request) if self.cors is not None else b"")


def answer_fields(route: Route, cors: CompiledCors | None) -> AnswerFields | None:
    """None where answers pass as they are."""
    return AnswerFields(route, cors) if cors is not None or route.fields_set or route.fields_removed else None


def new_head(status: int, reason: bytes, block: bytes, length: int) -> ResponseHead:
    head = ResponseHead(status, reason, True)
    head.block = block
    head.length = length
    return head


def _list(name: bytes, values: tuple[str, ...]) -> bytes:
    return b"%b: %b\r\n" % (name, ", ".join(values).encode("ascii")) if values else b""


def _is_host(part: bytes) -> bool:
    return part != b"" and part.strip(b"abcdefghijklmnopqrstuvwxyz0123456789-.") == b""


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and b"]" not in port else host
