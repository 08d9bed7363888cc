"""What holds for any bytes whatever. Each law takes raw bytes and returns, or raises AssertionError.

Where a law needs to cut the bytes into pieces, the places come from the bytes themselves, so that a
case is a file of plain bytes and always does the same.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from zlib import crc32

from crossfade.http1.framing import BrokenBody, ChunkedReader, chunks
from tests.dataplane.plane import mirrored, route, sticky
from tests.fuzz.memory import Memory, Origin, Script, Talk, answer
from tests.fuzz.mutations import chunked_bodies, seeds, streams
from tests.fuzz.reference import OWN, Heard, Refused, answer_in, next_message, requests_by_llhttp, requests_in
from tests.http1.laws import request_or_refusal, response_or_refusal

REFUSALS = {400, 404, 413, 414, 417, 431, 501, 505}
POST = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
BARE_LF = re.compile(rb"(?<!\r)\n")
ABSOLUTE = re.compile(rb"(?i:https?)://[^/?]*")
HOP = {b"connection", b"te", b"upgrade"}  # what the proxy asks of the next hop itself
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
    dice = Random(crc32(raw))
    if dice.random() < 0.1:
        return [raw[n : n + 1] for n in range(len(raw))]
    places = sorted(dice.randrange(len(raw) + 1) for _ in range(dice.choice([1, 1, 2, 5])))
    return [raw[a:b] for a, b in pairwise([0, *places, len(raw)]) if b > a]


# ── heads and bodies ──────────────────────────────────────────────────────────────────────────


def request_head(raw: bytes) -> None:
    request_or_refusal(raw)


def response_head(raw: bytes) -> None:
    for method in (b"GET", b"HEAD"):
        response_or_refusal(raw, method)


def chunked_body(raw: bytes) -> None:
    """One piece or many: the same; and h11 reads the same payload in the body itself and in what we make of it."""
    whole, pieces = read_chunks([raw]), read_chunks(cut(raw))
    assert whole == pieces
    if whole is None:
        return
    payload, rest = whole
    try:
        heard, unread = next_message(POST + raw)
    except Refused:
        pass  # it refuses a few oddities that we take apart and drop
    else:
        assert (heard and heard.body, unread if heard else None) == (payload, rest)
    again, surplus = next_message(POST + chunks(payload, True))
    assert again is not None and (again.body, surplus) == (payload, b"")


def read_chunks(pieces: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Payload and what lies behind the body; None if it is broken or not whole."""
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
    """A loop with a few data planes in memory; a context, since connecting is replaced for its time."""

    def __enter__(self) -> Exchanges:
        self.runner = asyncio.Runner().__enter__()
        self.memories = self.runner.run(planes())
        return self

    def __exit__(self, *end: object) -> None:
        self.runner.close()

    def talk(self, memory: Memory, pieces: Sequence[bytes], script: Script = answer) -> Talk:
        talk = self.runner.run(memory.talk(pieces, script))
        assert talk.faults == [], talk.faults
        return talk

    def client(self, raw: bytes) -> None:
        """What a client sends reaches the origin as whole requests that others read there as well, or is refused."""
        memory = self.memories[crc32(raw) % len(self.memories)]
        whole = self.talk(memory, [raw])
        check_talk(whole, raw)
        pieces = self.talk(memory, cut(raw))
        check_talk(pieces, raw)
        assert [r.gist for r in pieces.requests] == [r.gist for r in whole.requests]
        assert kinds(pieces) == kinds(whole)

    def origin(self, raw: bytes) -> None:
        """What an origin answers reaches the client as others read it, or the client sees that it is not whole."""
        method, request = ASKS[crc32(raw) % len(ASKS)]
        views: list[Heard | bytes | None] = []
        for pieces in ([raw], cut(raw)):
            talk = self.talk(self.memories[0], [request], saying(pieces))
            if request is UPGRADE and SWITCHED.match(talk.said):
                views.append(frames := SWITCHED.split(talk.said, maxsplit=1)[1])
                assert SWITCHED.split(raw, maxsplit=1)[1] == frames
                continue
            views.append(seen := client_view(talk, method))
            if seen is not None:
                meant = answer_in(raw, method, closed=True)
                assert meant is not None, f"{seen} looks whole"
                assert (meant.target, meant.body) == (seen.target, seen.body)
        assert views[0] == views[1]


async def planes() -> list[Memory]:
    """With nothing to spare them; with bodies to look into; with mirrors and limits."""
    return [
        Memory(route("v2")),
        Memory(route("v2", sticky=sticky("json", "customer_id"), inspect_limit=64)),
        Memory(route("v2", mirrors=mirrored("v3"), body_limit=64)),
    ]


def kinds(talk: Talk) -> list[int]:
    """Of two faults of one request, which is met first may depend on how it is cut."""
    return [400 if status == 413 else status for status in talk.statuses]


def check_talk(talk: Talk, raw: bytes) -> None:
    requests = [request.gist for request in talk.requests]
    expected, gave_up = requests_in(raw)
    if len(expected) < len(requests) and gave_up:  # a second opinion
        expected = requests_by_llhttp(raw) or expected
    assert requests == [origin_form(r).gist for r in expected[: len(requests)]]
    for passed, meant in zip(talk.requests, requests_in(raw)[0], strict=False):
        assert not fields_of(passed) - fields_of(meant), "a field that the client did not send"
        assert not Counter(passed.trailers) - Counter(meant.trailers), (
            "a trailer that the client did not send"
        )
    refusals = [status for status in talk.statuses if status != 200]
    assert len(talk.statuses) - len(refusals) == len(requests), "an answer for each request, and no other"
    assert set(refusals) <= REFUSALS
    if (
        not refusals and not talk.ended and not gave_up and not BARE_LF.search(raw)
    ):  # h11 takes those for CRLF
        assert len(requests) == len(expected), "a request was lost"
    for origin in talk.origins + talk.copies:
        heard = requests_by_llhttp(origin.raw)
        if heard is not None:
            assert [r.gist for r in heard] == [r.gist for r in origin.requests]
    copied = Counter(r.gist for origin in talk.copies for r in origin.requests)
    assert not copied - Counter(requests)


def fields_of(request: Heard) -> Counter[tuple[bytes, bytes]]:
    return Counter((name, value) for name, value in request.fields if name not in ADDED)


def origin_form(request: Heard) -> Heard:
    """As a proxy has to pass on a target in absolute form (RFC 9112 sections 3.2.2 and 3.2.4)."""
    target = request.target
    if found := ABSOLUTE.match(target):
        target = target[found.end() :]
    if target[:1] not in (b"/", b"*"):
        target = b"*" if request.method == b"OPTIONS" and not target else b"/" + target
    return Heard(request.method, target, request.body)


def saying(pieces: Sequence[bytes]) -> Script:
    """The pieces, then the end of the connection."""

    def script(origin: Origin) -> None:
        loop = asyncio.get_running_loop()
        for piece in pieces:
            loop.call_soon(origin.say, piece)
        loop.call_soon(origin.transport.end)

    return script


def client_view(talk: Talk, method: bytes) -> Heard | None:
    """The backend's answer as a client reads it; None if it sees that there is none, or not the whole."""
    if b"x-crossfade-error: upstream/" in talk.said:
        return None
    return answer_in(talk.said, method, closed=not talk.aborted)


Law = Callable[[Exchanges, bytes], None]
LAWS: dict[str, tuple[Law, Callable[[], list[bytes]]]] = {
    "request-head": (lambda _, raw: request_head(raw), lambda: seeds("good", "bad")),
    "response-head": (lambda _, raw: response_head(raw), lambda: seeds("good_responses", "bad_responses")),
    "chunks": (lambda _, raw: chunked_body(raw), chunked_bodies),
    "client": (Exchanges.client, lambda: streams("streams", "good", "bad")),
    "origin": (Exchanges.origin, lambda: streams("streams_of_answers", "good_responses", "bad_responses")),
}
