"""How a request is rewritten for the endpoint that is asked: its line, its Host and its other fields.

Rule: the target that the model gets is the endpoint's path, then the client's path as `request.path` changes it, then
the client's query as it is. All bytes come from a target that was parsed and from a configuration that was checked, so
the head stays one head. A client cannot leave the endpoint's path: segments `.` and `..` of its path are resolved first.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Final

from crossfade.http1.headers import underscore_variants, without
from crossfade.http1.lines import Start
from crossfade.http1.memory import remember
from crossfade.http1.request_head import RequestHead
from crossfade.paths import KEEP, BadPath, readings
from crossfade.regex import compiled
from crossfade.routing.json_fields import DIGESTS, json_fields
from crossfade.routing.match import LONGEST_PATH
from crossfade.routing.snapshot import Endpoint, Rewrite

KEPT_LINES: Final = 4096
_KEPT_LENGTH: Final = 128  # bytes of a request line
_DOTS: Final = re.compile(rb"/(?:\.|%2[Ee]){1,2}(?:/|\Z)")
_DEFAULT_PORTS: Final = {False: 80, True: 443}


class Rewriting:
    """Of one endpoint. `host`: the Host field, None for the client's own. `fields_added` are whole field lines.

    `json`: what is replaced in bodies. Digests of the client's body are removed then.
    """

    def __init__(self, spec: Rewrite, endpoint: Endpoint) -> None:
        self.spec = spec
        self.endpoint = endpoint
        self.base = endpoint.base.rstrip("/").encode("ascii")
        self.prefix = None if spec.prefix is None else spec.prefix.rstrip("/").encode("ascii")
        self.whole = _whole_path(spec, endpoint)
        self.expression = None if spec.regex is None else Substitution(*spec.regex)
        self.keeps_target = not self.base and (spec.prefix, spec.replace, spec.regex) == (None, None, None)
        self.host = _host(spec, endpoint)
        replaced = [name.encode("ascii") for name in (*spec.remove, *(name for name, _ in spec.set))]
        self.replaced = frozenset(chain.from_iterable(underscore_variants(plain(name)) for name in replaced))
        self.fields_added = b"".join(
            [b"%b: %b\r\n" % (name.encode("ascii"), value.encode()) for name, value in (*spec.set, *spec.add)]
        )
        self.json = json_fields(spec.json)
        if self.json is not None:
            self.replaced |= DIGESTS
        self.lines: dict[bytes, bytes] = {}

    def request_line(self, start: Start, matched: bytes) -> bytes:
        """As `Start.request_line`. `matched`: the part of the path that the route has matched."""
        if self.keeps_target:
            return start.request_line
        if self.prefix is not None:  # the result depends on the route too
            return self.compose(start, matched)
        line = self.lines.get(start.request_line)
        if line is None:
            line = self.compose(start, matched)
            remember(self.lines, start.request_line, line, KEPT_LINES, _KEPT_LENGTH)
        return line

    def compose(self, start: Start, matched: bytes) -> bytes:
        if start.target == b"*":  # OPTIONS about the server as a whole: it has no path
            return start.request_line
        path = self.path(start, matched)
        return b"%b %b%b HTTP/1.1\r\nHost: " % (start.method, path, start.target[len(start.path) :])

    def path(self, start: Start, matched: bytes) -> bytes:
        if self.whole is not None:
            return self.whole
        path = start.path
        if self.prefix is not None:
            if start.spelled is not None:
                path = as_matched(path, start.spelled, matched)
            path = self.prefix + behind(_resolved(path), matched)
        else:
            path = self.substituted(start) or _resolved(path)
        return self.base + path or b"/"

    def substituted(self, start: Start) -> bytes | None:
        """None where no expression matches the path in its normalised spelling."""
        if self.expression is None:
            return None
        reading = start.path if start.spelled is None else _reading(start.spelled, False)
        return None if reading is None else self.expression.path(reading)

    def block(self, head: RequestHead) -> bytes:
        """The field lines for the backend."""
        if not self.replaced:
            return head.block + self.fields_added
        kept = [field.line for field in head.fields if field.name not in self.replaced]
        return b"".join(kept) + self.fields_added


class Substitution:
    """Of paths that an expression matches; `parts` are literal bytes and numbers of groups."""

    def __init__(self, pattern: str, substitution: str) -> None:
        self.pattern = compiled(pattern, captures=True)
        pieces = re.split(r"\\([1-9])", substitution)
        self.literals = [piece.encode("ascii") for piece in pieces[::2]]
        self.groups = [int(number) for number in pieces[1::2]]

    def path(self, path: bytes) -> bytes | None:
        """None for a path that is not matched, and for one that is too long to be matched in a short time."""
        found = self.pattern.fullmatch(path) if len(path) <= LONGEST_PATH else None
        if found is None:
            return None
        parts = [self.literals[0]]
        for number, literal in zip(self.groups, self.literals[1:], strict=True):
            parts += [found.group(number) or b"", literal]
        return _resolved(b"".join(parts))


def without_replaced(trailers: bytes, rewriting: Rewriting | None) -> bytes:
    """A server may merge trailers into the head: the client's cannot bring back what is replaced there."""
    return trailers if rewriting is None or not trailers else without(trailers, rewriting.replaced)


def rewriting_of(spec: Rewrite | None, endpoint: Endpoint, known: Rewriting | None) -> Rewriting | None:
    """None where requests pass as they are; `known`, with its remembered lines, where it is the same."""
    if spec is None:
        if not endpoint.base:
            return None
        spec = Rewrite()
    return known if known is not None and known.spec == spec else Rewriting(spec, endpoint)


def behind(path: bytes, matched: bytes) -> bytes:
    """The rest of the path behind the part that the route has matched: empty, or it begins with a slash."""
    matched = matched.rstrip(b"/")
    rest = path[len(matched) :]
    return rest if path.startswith(matched) and rest[:1] in (b"", b"/") else path


def as_matched(path: bytes, spelled: bytes, matched: bytes) -> bytes:
    """The reading of the path that begins with what the route has matched; routes are not matched with the bytes as sent."""
    for merge_slashes in (False, True):
        reading = _reading(spelled, merge_slashes)
        if reading is None:
            continue
        if behind(reading, matched) is not reading or not matched.rstrip(b"/"):
            return reading
    return path


def _reading(spelled: bytes, merge_slashes: bool) -> bytes | None:
    try:
        return readings(spelled, merge_slashes, KEEP)[0]
    except BadPath:
        return None


def _resolved(path: bytes) -> bytes:
    return without_dot_segments(path) if _DOTS.search(path) else path


def without_dot_segments(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4, for percent-encoded dots too."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    last = b""
    for segment in segments:
        last = segment.lower().replace(b"%2e", b".")
        if last == b"..":
            del kept[-1:]
        elif last != b".":
            kept.append(segment)
    end = b"/" if last in (b".", b"..") and kept else b""
    return b"/" + b"/".join(kept) + end


def _whole_path(spec: Rewrite, endpoint: Endpoint) -> bytes | None:
    """The path of all requests, if it is replaced; `/` stands for the endpoint's path as it is written."""
    if spec.replace is None:
        return None
    if spec.replace == "/" and endpoint.base:
        return endpoint.base.encode("ascii")
    return (endpoint.base.rstrip("/") + spec.replace).encode("ascii")


def _host(spec: Rewrite, endpoint: Endpoint) -> bytes | None:
    if spec.host == "preserve":
        return None
    if spec.host != "endpoint":
        return spec.host.encode("ascii")
    default = not endpoint.path and endpoint.port == _DEFAULT_PORTS[endpoint.tls]  # RFC 9110 section 7.2
    return (endpoint.authority.removesuffix(f":{endpoint.port}") if default else endpoint.authority).encode(
        "ascii"
    )


def plain(name: bytes) -> bytes:
    """WSGI and CGI take `_` for `-`."""
    return name.replace(b"_", b"-")
