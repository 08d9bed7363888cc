"""Cases made from the corpus: messages are spliced, cut, doubled and mixed with tokens that parsers get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.http1.corpus import messages

# Also a dictionary for libFuzzer, see `__main__`.
TOKENS = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xff", b" ", b"\t", b":",
    b",", b";", b"#", b"?", b"/", b"*", b"@", b"[", b"]", b"\\", b"\"", b"0", b"1", b"5", b"+5", b"0x5", b"a",
    b"GET ", b"HEAD ", b"POST ", b"OPTIONS ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/1.2\r\n",
    b"Host: a\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content_Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: host, content-length\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"TE: trailers\r\n",
    b"X-Forwarded-For: 1.1.1.1\r\n", b"X-Request-Id: x\r\n", b" folded: 1\r\n", b"http://a/", b"HTTP://b",
    b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nX: 1\r\n\r\n", b"5;a=b\r\nhello\r\n", b"00\r\n\r\n", b"FFFFFFFFFFFFFFFF\r\n",
    b'{"customer_id": "c"}', b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 204 No\r\n\r\n",
]  # fmt: skip
BODIES = [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b'{"customer_id": "c"}', TOKENS[-4]]


def seeds(*kinds: str) -> list[bytes]:
    """Messages of the corpus, alone and followed by bodies."""
    heads = [path.read_bytes() for kind in kinds for path in messages(kind)]
    return [head + body for head in heads for body in BODIES]


def streams(kind: str, *heads: str) -> list[bytes]:
    """Complete streams, as many as heads: faults that need several messages need many starts."""
    found, whole = seeds(*heads), [path.read_bytes() for path in messages(kind)]
    return found + whole * (len(found) // len(whole))


def chunked_bodies() -> list[bytes]:
    """Chunked bodies, with the bytes after them."""
    mark = b"chunked\r\n\r\n"
    return [raw.partition(mark)[2] for raw in streams("streams", "good") if mark in raw]


def mutations(count: int, seed: int, start: list[bytes]) -> Iterator[bytes]:
    """`count` cases, the same for the same seed."""
    rng = Random(seed)
    for _ in range(count):
        raw = rng.choice(start)
        if rng.random() < 0.4:
            other = rng.choice(start)
            raw = raw[: rng.randrange(len(raw) + 1)] + other[rng.randrange(len(other) + 1) :]
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            raw = mutated(raw, rng)
        yield raw


def mutated(raw: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(raw) + 1)
    to = min(len(raw), at + rng.choice([0, 0, 1, 2, 8, 40]))
    new = rng.choice([rng.choice(TOKENS), rng.choice(TOKENS), raw[at:to] * 2, b"", rng.randbytes(1)])
    return raw[:at] + new + raw[to:]
