"""Law 11 for heads: any bytes give a message or a refusal, never anything else."""

from __future__ import annotations

import re

from crossfade.errors import RequestRefused, ResponseRefused
from crossfade.http1.request_head import LastHead, RequestHead, parse_request
from crossfade.http1.response_head import ResponseHead, parse_response
from tests.http1.corpus import serialised_request, serialised_response

# Forwarded lines are in canonical spelling. None is about this hop, the framing or the client.
CANONICAL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: ((?![ \t])[^\x00-\x08\x0a-\x1f\x7f]+(?<![ \t]))?")
HOP = (
    rb"connection|keep-alive|te|upgrade|http2-settings"
    rb"|proxy-connection|proxy-authenticate|proxy-authorization"
)
REMOVED_FROM_REQUESTS = re.compile(
    rb"(?i:host|expect|forwarded|content[-_]length|transfer[-_]encoding|x[-_]request[-_]id"
    rb"|x[-_]forwarded[-_](for|proto|host)|x[-_]crossfade[-_].*|" + HOP + rb")"
)
REMOVED_FROM_RESPONSES = re.compile(rb"(?i:x-request-id|x-crossfade-.*|" + HOP + rb")")


def may_be_forwarded(block: bytes, removed: re.Pattern[bytes]) -> bool:
    *lines, end = block.split(b"\r\n")
    names = [line.partition(b":")[0] for line in lines]
    return (
        end == b""
        and all(CANONICAL.fullmatch(line) for line in lines)
        and not any(removed.fullmatch(name) for name in names)
    )


LAST = LastHead()  # the fields of the head before, as a connection has them


def values_of(head: RequestHead) -> tuple[object, ...]:
    """All that a head says. A compiled class has no list of its attributes."""
    return (
        head.start.request_line, head.minor, head.host, head.length, head.keep_alive, head.expects_continue, head.upgrade,
        head.takes_trailers, head.nominees, head.request_id, head.traced, head.override, head.public_host, head.block,
        [(field.name, field.value, field.line) for field in (*head.fields, *head.claims)],
    )  # fmt: skip


def is_accepted(raw: bytes) -> bool:
    """On the connection that had the other heads."""
    try:
        parse_request(raw, last=LAST)
    except RequestRefused:
        return False
    return True


def request_or_refusal(raw: bytes) -> None:
    """A head that parses to the same values when serialised, and on a connection that had other heads; or a refusal."""
    try:
        head = parse_request(raw)
    except RequestRefused as refusal:
        assert refusal.status in (400, 417, 431, 501, 505)
        assert not is_accepted(raw)
        assert not is_accepted(raw)  # its first lines are those of the last head now
        return
    assert isinstance(head, RequestHead)
    for _ in range(4):  # from the third on it may be a usual one
        assert values_of(parse_request(raw, last=LAST)) == values_of(head)
    assert may_be_forwarded(head.block, REMOVED_FROM_REQUESTS)
    assert head.length >= -1
    assert head.target[:1] == b"/" or (head.target == b"*" and head.method == b"OPTIONS")
    spelled = serialised_request(head)
    if head.host is None:
        assert head.minor == b"0"
        spelled = spelled.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    reparsed = parse_request(spelled)
    assert reparsed.block == head.block
    assert (reparsed.method, reparsed.target, reparsed.host, reparsed.length) == (
        head.method, head.target, head.host, head.length,
    )  # fmt: skip


def response_or_refusal(raw: bytes, method: bytes) -> None:
    try:
        head = parse_response(raw, method)
    except ResponseRefused:
        return
    assert isinstance(head, ResponseHead)
    assert may_be_forwarded(head.block, REMOVED_FROM_RESPONSES)
    assert 100 <= head.status <= 999
    assert head.reason[:1] == b" "
    assert head.length >= -2
    reparsed = parse_response(serialised_response(head), method)
    assert (reparsed.status, reparsed.reason, reparsed.block) == (head.status, head.reason, head.block)
