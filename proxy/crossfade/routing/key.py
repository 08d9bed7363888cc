"""The sticky key of a request: it keeps one customer on one backend.

A route lists its sources in order; the first source that is present gives the key. A key is bytes, as the
client spelled them. Several header fields of one name are one list (RFC 9110 section 5.3; of cookies RFC 9113
section 8.2.3), since a proxy in front may join them. From JSON, a string gives its UTF-8 text and a number its
shortest spelling, so that `"42"`, `42` and `42.0` are one customer. If a JSON object has a name twice, the last
one counts, as in the JSON parsers that models use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from crossfade.http1.request_head import RequestHead
from crossfade.routing.json_path import JsonScan
from crossfade.routing.snapshot import Sticky

# From the head, the decoded JSON body (None if there is none) and the client's address to a key.
# An empty key counts as no key.
KeySource = Callable[[RequestHead, Any, bytes], bytes | None]


def first_key(sticky: Sequence[Sticky]) -> KeySource:
    """A source that gives the first key that is present and not empty."""
    sources = [key_source(s) for s in sticky if s.assigned is None]
    if len(sources) == 1:
        return sources[0]
    return lambda head, body, client: next(
        (key for source in sources if (key := source(head, body, client))), None
    )


def key_source(sticky: Sticky) -> KeySource:
    name = sticky.name.encode()
    match sticky.kind:
        case "header":
            wanted = name.lower()
            return lambda head, body, client: head.find_list(wanted, b", ")
        case "cookie":
            return lambda head, body, client: cookie_value(head.find_list(b"cookie", b"; "), name)
        case "query":
            return lambda head, body, client: query_value(head.query, name)
        case "json":
            path = tuple(sticky.name.split("."))
            return lambda head, body, client: json_key(body, path)
        case "client_ip":
            return lambda head, body, client: client
        case "assign":  # not in the request: the router assigns it where nothing else is there
            return lambda head, body, client: None


def cookie_value(cookies: bytes | None, name: bytes) -> bytes | None:
    """The first value that is not empty: a cookie of another path or domain may have been emptied."""
    if cookies is None:
        return None
    for pair in cookies.split(b";"):
        key, _, value = pair.strip(b" \t").partition(b"=")
        if value and key == name:
            return value
    return None


def query_value(query: bytes, name: bytes) -> bytes | None:
    """The first value of the parameter, not decoded; empty for `?name=` and `?name`."""
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == name:
            return value
    return None


def decode_json(body: bytes) -> Any:
    """The decoded body, or None if it is not JSON. To report invalid JSON is left to the model."""
    try:
        return _DECODE(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_DECODE = msgspec.json.Decoder().decode
_INDEX = re.compile("0|[1-9][0-9]{0,8}")


def json_field(body: Any, path: tuple[str, ...]) -> Any:
    """The value at a path of object names and array indexes from 0, or None. `body`: decoded, or a scan that has the path."""
    if isinstance(body, JsonScan):
        return body.value(path)
    for step in path:
        if isinstance(body, dict):
            body = body.get(step)
        elif isinstance(body, list) and _INDEX.fullmatch(step) and int(step) < len(body):
            body = body[int(step)]
        else:
            return None
    return body


def json_key(body: Any, path: tuple[str, ...]) -> bytes | None:
    value = json_field(body, path)
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).encode()
