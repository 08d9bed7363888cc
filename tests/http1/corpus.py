"""The messages under tests/corpus, and parsed heads serialised as they are forwarded, without the proxy's own fields.

`good/NAME.raw` is a message, and `good/NAME.out` the expected serialised head, byte for byte.
`bad/STATUS-NAME.raw` must be refused with that status. A name tells the RFC section that decides.
"""

from __future__ import annotations

from pathlib import Path

from crossfade.http1.lines import CHUNKED
from crossfade.http1.request_head import RequestHead
from crossfade.http1.response_head import ResponseHead

CORPUS = Path(__file__).parent.parent / "corpus"


def messages(kind: str) -> list[Path]:
    found = sorted((CORPUS / kind).glob("*.raw"))
    assert found, f"the corpus {kind} is empty"
    return found


def name_of(path: Path) -> str:
    return path.stem


def serialised_request(head: RequestHead) -> bytes:
    host = b"" if head.host is None else b"Host: %b\r\n" % head.host
    framing = b""
    if head.length == CHUNKED:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif head.length:
        framing = b"Content-Length: %d\r\n" % head.length
    return b"%b %b HTTP/1.1\r\n%b%b%b\r\n" % (head.method, head.target, host, head.block, framing)


def serialised_response(head: ResponseHead) -> bytes:
    return b"HTTP/1.1 %d%b\r\n%b\r\n" % (head.status, head.reason, head.block)
