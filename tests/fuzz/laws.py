"""Laws that hold for any bytes. Each law takes raw bytes and returns, or raises AssertionError.

If a law cuts the bytes into pieces, the positions are derived from the bytes, so a case is a file of bytes and its
result is always the same.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random
from zlib import crc32

from crossfade.dataplane.turn import TURN
from crossfade.errors import RequestRefused, ResponseRefused
from crossfade.http1.framing import BrokenBody, ChunkedReader, chunks
from crossfade.http1.incomplete import check_request, check_response
from crossfade.http1.request_head import parse_request
from crossfade.http1.response_head import parse_response
from tests.dataplane.plane import mirrored, route, sticky
from tests.fuzz.memory import Memory, Origin, Script, Trace, answer
from tests.fuzz.mutations import chunked_bodies, seeds, streams
from tests.fuzz.reference import (
    OWN,
    Parsed,
    Refused,
    answer_in,
    next_message,
    requests_by_llhttp,
    requests_in,
)
from tests.http1.laws import request_or_refusal, response_or_refusal

REFUSALS = {400, 404, 413, 414, 417, 431, 501, 505}
POST = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
BARE_LF = re.compile(rb"(?<!\r)\n")
ABSOLUTE = re.compile(rb"(?i:https?)://[^/?]*")
HOP = {b"connection", b"te", b"upgrade"}  # written by the proxy for the next hop
# A sample handshake (RFC 6455 section 1.3); the corpus has the answer to it.
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ASKS = [
    (b"GET", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    (b"GET", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: TE\r\nTE: trailers\r\n\r\n"),
    (b"HEAD", b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"),
    (b"GET", UPGRADE),
]
HEAD_END = rb"(?:(?!\r\n\r\n).)*\r\n\r\n"
SWITCHED = re.compile(
    rb"\A(?:HTTP/1\.[01] 1[0-9][0-9]" + HEAD_END + rb")*?HTTP/1\.[01] 101" + HEAD_END, re.DOTALL
)
ADDED = OWN | HOP | {b"host", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}


def cut(raw: bytes) -> list[bytes]:
    """Byte by byte, or in a few pieces."""
    rng = Random(crc32(raw))
    if rng.random() < 0.1:
        return [raw[n : n + 1] for n in range(len(raw))]
    places = sorted(rng.randrange(len(raw) + 1) for _ in range(rng.choice([1, 1, 2, 5])))
    return [raw[a:b] for a, b in pairwise([0, *places, len(raw)]) if b > a]


# ── heads and bodies ──────────────────────────────────────────────────────────────────────────


def request_head(raw: bytes) -> None:
    request_or_refusal(raw)


def response_head(raw: bytes) -> None:
    for method in (b"GET", b"HEAD"):
        response_or_refusal(raw, method)


def incomplete_request(raw: bytes) -> None:
    """A head that is refused before its end is refused as the whole one is. A head that is not may become valid."""
    for so_far in beginnings(raw):
        early = refusal_of(check_request, so_far, 100)
        if early is None:
            assert not CONTROL.search(so_far.removesuffix(b"\r").replace(b"\r\n", b"")), (
                "it cannot become valid"
            )
        else:
            late = refusal_of(parse_request, raw)
            assert isinstance(late, RequestRefused) and isinstance(early, RequestRefused)
            assert late.status in (early.status, 431)  # the number of fields is known only at the end
            return


def incomplete_response(raw: bytes) -> None:
    for so_far in beginnings(raw):
        if refusal_of(check_response, so_far) is not None:
            assert refusal_of(parse_response, raw, b"GET") is not None
            return
        assert not CONTROL.search(so_far.removesuffix(b"\r").replace(b"\r\n", b"")), "it cannot become valid"


def beginnings(raw: bytes) -> Iterator[bytes]:
    """Those of a head, up to where it is complete; an empty line before it is not part of a head."""
    end = raw.find(b"\r\n\r\n")
    if end >= 0 and not raw.startswith(b"\r\n"):
        yield from (raw[:n] for n in range(1, end + 4))


def refusal_of(parse: Callable[..., object], *arguments: object) -> Exception | None:
    try:
        parse(*arguments)
    except (RequestRefused, ResponseRefused) as refusal:
        return refusal
    return None


def chunked_body(raw: bytes) -> None:
    """One piece or many give the same result, and h11 reads the same payload from the body and from our chunks."""
    whole, pieces = read_chunks([raw]), read_chunks(cut(raw))
    assert whole == pieces
    if whole is None:
        return
    payload, rest = whole
    try:
        parsed, unread = next_message(POST + raw)
    except Refused:
        pass  # h11 refuses some rare forms that the proxy accepts and rewrites
    else:
        assert (parsed and parsed.body, unread if parsed else None) == (payload, rest)
    again, surplus = next_message(POST + chunks(payload, True))
    assert again is not None and (again.body, surplus) == (payload, b"")


def read_chunks(pieces: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Payload, and the bytes after the body; None if it is broken or incomplete."""
    reader, payload = ChunkedReader(), b""
    for n, piece in enumerate(pieces):
        try:
            payload += reader.feed(piece)
        except BrokenBody:
            return None
        if reader.done:
            return payload, reader.surplus + b"".join(pieces[n + 1 :])
    return None


# ── whole exchanges ───────────────────────────────────────────────────────────────────────────


class Exchanges:
    """An event loop with some data planes in memory. `busy`: what may wait for the end of a turn of the loop does."""

    def __init__(self, busy: bool = False) -> None:
        self.busy = busy

    def __enter__(self) -> Exchanges:
        self.runner = asyncio.Runner(debug=False).__enter__()
        self.memories = self.runner.run(planes())
        TURN.is_busy = self.busy  # it stays so: nothing sweeps
        return self

    def __exit__(self, *end: object) -> None:
        self.runner.close()

    def relay(self, memory: Memory, pieces: Sequence[bytes], script: Script = answer) -> Trace:
        trace = self.runner.run(memory.relay(pieces, script))
        assert trace.faults == [], trace.faults
        return trace

    def client(self, raw: bytes) -> None:
        """A client's bytes reach the origin as complete requests that other parsers read alike, or are refused."""
        memory = self.memories[crc32(raw) % len(self.memories)]
        whole = self.relay(memory, [raw])
        check_trace(whole, raw)
        pieces = self.relay(memory, cut(raw))
        check_trace(pieces, raw)
        assert [r.identity for r in pieces.requests] == [r.identity for r in whole.requests]
        assert kinds(pieces) == kinds(whole)

    def origin(self, raw: bytes) -> None:
        """An origin's answer reaches the client as other parsers read it, or the client sees that it is incomplete."""
        method, request = ASKS[crc32(raw) % len(ASKS)]
        views: list[Parsed | bytes | None] = []
        for pieces in ([raw], cut(raw)):
            trace = self.relay(self.memories[0], [request], sending(pieces))
            if request is UPGRADE and SWITCHED.match(trace.to_client):
                views.append(frames := SWITCHED.split(trace.to_client, maxsplit=1)[1])
                assert SWITCHED.split(raw, maxsplit=1)[1] == frames
                continue
            views.append(seen := client_view(trace, method))
            if seen is not None:
                meant = answer_in(raw, method, closed=True)
                assert meant is not None, f"{seen} looks whole"
                assert (meant.target, meant.body) == (seen.target, seen.body)
        assert views[0] == views[1]


async def planes() -> list[Memory]:
    """A plain route; one with a key in the body; one with a mirror and a body limit."""
    return [
        Memory(route("v2")),
        Memory(route("v2", sticky=sticky("json", "customer_id"), inspect_limit=64)),
        Memory(route("v2", mirrors=mirrored("v3"), body_limit=64)),
    ]


def kinds(trace: Trace) -> list[int]:
    """Which of two faults of a request is found first may depend on the pieces."""
    return [400 if status == 413 else status for status in trace.statuses]


def check_trace(trace: Trace, raw: bytes) -> None:
    requests = [request.identity for request in trace.requests]
    expected, gave_up = requests_in(raw)
    if len(expected) < len(requests) and gave_up:  # ask the other parser
        expected = requests_by_llhttp(raw) or expected
    assert requests == [origin_form(r).identity for r in expected[: len(requests)]]
    for passed, meant in zip(trace.requests, requests_in(raw)[0], strict=False):
        assert not fields_of(passed) - fields_of(meant), "a field that the client did not send"
        assert not Counter(passed.trailers) - Counter(meant.trailers), (
            "a trailer that the client did not send"
        )
    refusals = [status for status in trace.statuses if status != 200]
    assert len(trace.statuses) - len(refusals) == len(requests), "an answer for each request, and no other"
    assert set(refusals) <= REFUSALS
    if (
        not refusals and not trace.ended and not gave_up and not BARE_LF.search(raw)
    ):  # h11 accepts a bare LF as CRLF
        assert len(requests) == len(expected), "a request was lost"
    for origin in trace.origins + trace.copies:
        parsed = requests_by_llhttp(origin.raw)
        if parsed is not None:
            assert [r.identity for r in parsed] == [r.identity for r in origin.requests]
    copied = Counter(r.identity for origin in trace.copies for r in origin.requests)
    assert not copied - Counter(requests)


def fields_of(request: Parsed) -> Counter[tuple[bytes, bytes]]:
    return Counter((name, value) for name, value in request.fields if name not in ADDED)


def origin_form(request: Parsed) -> Parsed:
    """As a proxy has to pass on a target in absolute form (RFC 9112 sections 3.2.2 and 3.2.4)."""
    target = request.target
    if found := ABSOLUTE.match(target):
        target = target[found.end() :]
    if target[:1] not in (b"/", b"*"):
        target = b"*" if request.method == b"OPTIONS" and not target else b"/" + target
    return Parsed(request.method, target, request.body)


def sending(pieces: Sequence[bytes]) -> Script:
    """Sends the pieces, then closes the connection."""

    def script(origin: Origin) -> None:
        loop = asyncio.get_running_loop()
        for piece in pieces:
            loop.call_soon(origin.send, piece)
        loop.call_soon(origin.transport.end)

    return script


def client_view(trace: Trace, method: bytes) -> Parsed | None:
    """The backend's answer as a client reads it; None if it can see that there is none, or that it is incomplete."""
    if b"x-crossfade-error: upstream/" in trace.to_client:
        return None
    return answer_in(trace.to_client, method, closed=not trace.aborted)


Law = Callable[[Exchanges, bytes], None]
LAWS: dict[str, tuple[Law, Callable[[], list[bytes]]]] = {
    "request-head": (lambda _, raw: request_head(raw), lambda: seeds("good", "bad")),
    "response-head": (lambda _, raw: response_head(raw), lambda: seeds("good_responses", "bad_responses")),
    "incomplete-request": (
        lambda _, raw: incomplete_request(raw[: raw.find(b"\r\n\r\n") + 4]),
        lambda: seeds("good", "bad"),
    ),
    "incomplete-response": (
        lambda _, raw: incomplete_response(raw[: raw.find(b"\r\n\r\n") + 4]),
        lambda: seeds("good_responses", "bad_responses"),
    ),
    "chunks": (lambda _, raw: chunked_body(raw), chunked_bodies),
    "client": (Exchanges.client, lambda: streams("streams", "good", "bad")),
    "origin": (Exchanges.origin, lambda: streams("streams_of_answers", "good_responses", "bad_responses")),
}
