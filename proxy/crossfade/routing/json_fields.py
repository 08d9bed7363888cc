"""Replaces fields of a JSON body: `request: {json: {model: churn-3}}` of a backend.

Rule: the bytes of the field's value are replaced, and no others. A field that is absent is added at the front of its
object. The model must not read another value than the one written here, so what servers read in several ways is refused: a
name that comes twice, one that differs in case only, JSON that is not valid, a coded body. Bodies that are not JSON pass.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from crossfade.errors import RequestRefused, Stage
from crossfade.http1.head import RequestHead
from crossfade.routing.json_path import JsonScan, Path, tree_of
from crossfade.routing.key import decode_json, json_field

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

_LONGEST_MARK: Final = 3  # bytes


class JsonFields:
    """Of one backend: paths, and the JSON texts of their values."""

    def __init__(self, fields: tuple[tuple[str, str], ...]) -> None:
        self.fields = [(tuple(path.split(".")), text.encode()) for path, text in fields]

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
        for path, _ in self.fields:
            if _has_similar(content, path) or _scan(body, (path,)).repeated:
                detail = f"The JSON field {'.'.join(path)} is in the body more than once."
                return RequestRefused(Stage.PARSE, detail)
        return None

    def rewritten(self, head: RequestHead, body: bytes) -> bytes:
        """The body for the model. `body` is complete and has no refusal."""
        if body and is_json(head, body):
            for path, value in self.fields:
                body = with_value(body, path, value)
        return body


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


def with_value(body: bytes, path: Path, value: bytes) -> bytes:
    """With this value at the path; unchanged where there is no object for it."""
    span = _scan(body, (path,)).span(path)
    if span is not None:
        return body[: span[0]] + value + body[span[1] :]
    ancestors = tuple(path[:n] for n in range(1, len(path)))
    scan = _scan(body, ancestors)
    start, depth = len(body) - len(body.lstrip(_SPACE)), 0
    for ancestor in ancestors:
        found = scan.span(ancestor)
        if found is None:
            break
        start, depth = found[0], len(ancestor)
    if body[start : start + 1] != b"{":
        return body
    at = start + 1
    comma = b"" if body[at:].lstrip(_SPACE)[:1] == b"}" else b","
    return body[:at] + _member(path[depth:], value) + comma + body[at:]


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
