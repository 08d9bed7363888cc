"""Replaces fields of a JSON body: `request: {json: {model: churn-3}}` of a backend.

Rule: the bytes of the field's value are replaced, and no others. A field that is absent is added at the front of its
object. The model must not read another value than the one written here, so what servers read in several ways is refused: a
name that comes twice, one that differs in case only, JSON that is not valid, a coded body. Bodies that are not JSON pass.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.request_head import RequestHead
from crossfade.routing.json_path import JsonScan
from crossfade.routing.key import decode_json, json_field
from crossfade.routing.path_values import Path, tree_of

DIGESTS: Final = frozenset(
    {b"content-digest", b"repr-digest", b"digest", b"content-md5"}
)  # RFC 9530 section 4
_ENCODE: Final = msgspec.json.Encoder().encode
_SPACE: Final = b" \t\r\n"
_STARTS_OF_OTHER_CODINGS: Final = (
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\x00",
)  # UTF-8 with a mark, UTF-16, UTF-32

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_SCALAR_BEHIND: Final = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*+"|[-+.0-9A-Za-z]++)')
_LONGEST_MARK: Final = 3  # bytes


class JsonFields:
    """Of one backend: paths, and the JSON texts of their values."""

    def __init__(self, fields: tuple[tuple[str, str], ...]) -> None:
        self.fields = [(tuple(path.split(".")), text.encode()) for path, text in fields]
        self.checked = self.made = b""  # the last body without a refusal, and what is made of it

    def refusal(self, head: RequestHead, body: bytes) -> RequestRefused | None:
        """Why the request cannot be rewritten; None if it can, or need not. `body` is complete."""
        if not body:
            return None
        if is_coded(head):
            return coded_body()
        if not is_json(head, body):
            return None
        content = decode_json(body)
        if content is None and body.strip(_SPACE) != b"null":
            return RequestRefused(
                Stage.PARSE, "This model's requests are rewritten, and the body is not valid JSON."
            )
        made: bytes | None = body
        for path, value in self.fields:
            made = None if _has_similar(content, path) else with_value(made or body, content, path, value)
            if made is None:
                detail = f"The JSON field {'.'.join(path)} is in the body more than once."
                return RequestRefused(Stage.PARSE, detail)
        self.checked, self.made = body, made or body
        return None

    def rewritten(self, head: RequestHead, body: bytes) -> bytes:
        """The body for the model. `body` is complete and has no refusal."""
        if not body or not is_json(head, body):
            return body
        if body != self.checked:  # another request came between
            self.refusal(head, body)
        made = self.made
        self.checked = self.made = b""  # nothing of a client's body is kept
        return made


@lru_cache(maxsize=1024)
def json_fields(fields: tuple[tuple[str, str], ...]) -> JsonFields | None:
    return JsonFields(fields) if fields else None


def coded_body() -> RequestRefused:
    detail = "This model's requests are rewritten, so the body must have no Content-Encoding."
    return RequestRefused(Stage.PARSE, detail, 415)


def is_coded(head: RequestHead) -> bool:
    coding = head.find_list(b"content-encoding", b", ")
    return coding is not None and coding.strip().lower() not in (b"", b"identity")


def shows_kind(beginning: bytes) -> bool:
    """Whether this much of a body is enough for `is_json`."""
    return len(beginning.lstrip(_SPACE)) >= _LONGEST_MARK


def is_json(head: RequestHead, beginning: bytes) -> bool:
    """Whether the model may read the body as JSON. Some read any body so."""
    if beginning.lstrip(_SPACE)[:1] == b"{" or beginning.startswith(_STARTS_OF_OTHER_CODINGS):
        return True
    media = (head.field(b"content-type") or b"").partition(b";")[0].strip().lower()
    return not media or media == b"application/json" or media.endswith(b"+json")


def with_value(body: bytes, content: Any, path: Path, value: bytes) -> bytes | None:
    """With this value at the path; unchanged where there is no object for it. None: it is there more than once.

    `content`: the decoded body, but for fields that are replaced already.
    """
    if len(path) == 1 and isinstance(content, dict):
        quick = _quickly(body, content, path[0], value)
        if quick:
            return quick
    scan = _scan(body, (path,))
    if scan.repeated:
        return None
    span = scan.span(path)
    if span is not None:
        return body[: span[0]] + value + body[span[1] :]
    ancestors = tuple(path[:n] for n in range(1, len(path)))
    start, depth = len(body) - len(body.lstrip(_SPACE)), 0
    if ancestors:
        scan = _scan(body, ancestors)
        for ancestor in ancestors:
            found = scan.span(ancestor)
            if found is None:
                break
            start, depth = found[0], len(ancestor)
    return _with_member(body, start, path[depth:], value)


def _quickly(body: bytes, content: dict[str, Any], name: str, value: bytes) -> bytes:
    """The usual case without a scan, which costs 100 times as much: the name is nowhere else in the body. Empty if it may be."""
    if _PLAIN_NAME.fullmatch(name) is None or b"\\u00" in body:  # an escape may spell it
        return b""
    token = b'"%b"' % name.encode("ascii")
    times = body.count(token)
    if times == 0 and name not in content:
        return _with_member(body, len(body) - len(body.lstrip(_SPACE)), (name,), value)
    if times != 1 or name not in content:
        return b""
    found = _SCALAR_BEHIND.match(body, body.index(token) + len(token))
    return b"" if found is None else body[: found.start(1)] + value + body[found.end(1) :]


def _with_member(body: bytes, start: int, names: Path, value: bytes) -> bytes:
    """With a member at the front of the object that begins at `start`, if one does."""
    if body[start : start + 1] != b"{":
        return body
    at = start + 1
    comma = b"" if body[at:].lstrip(_SPACE)[:1] == b"}" else b","
    return body[:at] + _member(names, value) + comma + body[at:]


def _member(names: Path, value: bytes) -> bytes:
    """`"a":{"b":value}`"""
    for name in reversed(names[1:]):
        value = b"{%b:%b}" % (json_text(name), value)
    return b"%b:%b" % (json_text(names[0]), value)


def json_text(value: str | int | float | bool) -> bytes:
    return _ENCODE(value)


def _scan(body: bytes, paths: tuple[Path, ...]) -> JsonScan:
    scan = JsonScan(tree_of(paths))
    scan.feed(body)
    scan.end()
    return scan


def _has_similar(content: Any, path: Path) -> bool:
    """Whether an object on the path has a name that differs in case only: Go's decoder takes it for the same."""
    for depth, name in enumerate(path):
        within = json_field(content, path[:depth])
        if isinstance(within, dict) and name.casefold() in [key.casefold() for key in within if key != name]:
            return True
    return False
