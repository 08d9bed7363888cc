"""Law 11 over the corpus: what comes of each good message, that each bad one is refused, and all of them mutated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import RequestRefused, ResponseRefused
from proxy.http1.head import RequestHead, ResponseHead, parse_request, parse_response
from tests.http1.corpus import messages, name_of, spelled_request, spelled_response

GOOD, BAD = messages("good"), messages("bad")
GOOD_RESPONSES, BAD_RESPONSES = messages("good_responses"), messages("bad_responses")
REQUESTS = [path.read_bytes() for path in GOOD + BAD]
RESPONSES = [path.read_bytes() for path in GOOD_RESPONSES + BAD_RESPONSES]

ODD = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\x00", b"\x0b", b" ", b"\t", b":", b",", b"chunked", b"5", b"Host: a\r\n",
     b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close, host\r\n", b"\xff"]
)  # fmt: skip
# What may go on: whole lines in canonical spelling, and none about this hop, the framing or the client.
CANONICAL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: ((?![ \t])[^\x00-\x08\x0a-\x1f\x7f]+(?<![ \t]))?")
HOP = (
    rb"connection|keep-alive|te|upgrade|http2-settings"
    rb"|proxy-connection|proxy-authenticate|proxy-authorization"
)
STOPPED = re.compile(
    rb"(?i:host|expect|forwarded|content[-_]length|transfer[-_]encoding|x[-_]request[-_]id"
    rb"|x[-_]forwarded[-_](for|proto|host)|x[-_]crossfade[-_].*|" + HOP + rb")"
)
STOPPED_IN_ANSWERS = re.compile(rb"(?i:x-request-id|x-crossfade-.*|" + HOP + rb")")


def pass_on(block: bytes, stopped: re.Pattern[bytes]) -> bool:
    *lines, end = block.split(b"\r\n")
    names = [line.partition(b":")[0] for line in lines]
    return (
        end == b""
        and all(CANONICAL.fullmatch(line) for line in lines)
        and not any(stopped.fullmatch(name) for name in names)
    )


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_good_request(path: Path):
    head = parse_request(path.read_bytes())
    assert spelled_request(head) == path.with_suffix(".out").read_bytes()


@pytest.mark.parametrize("path", BAD, ids=name_of)
def test_bad_request(path: Path):
    with pytest.raises(RequestRefused) as refused:
        parse_request(path.read_bytes())
    assert refused.value.status == int(path.stem[:3])
    assert refused.value.failure.source == "downstream"


@pytest.mark.parametrize("path", GOOD_RESPONSES, ids=name_of)
def test_good_response(path: Path):
    head = parse_response(path.read_bytes(), b"POST")
    assert spelled_response(head) == path.with_suffix(".out").read_bytes()


@pytest.mark.parametrize("path", BAD_RESPONSES, ids=name_of)
def test_bad_response(path: Path):
    with pytest.raises(ResponseRefused):
        parse_response(path.read_bytes(), b"POST")


def request_or_refusal(raw: bytes) -> None:
    """A head that says the same when spelled and read again, or a refusal."""
    try:
        head = parse_request(raw)
    except RequestRefused as refusal:
        assert refusal.status in (400, 417, 431, 501, 505)
        return
    assert isinstance(head, RequestHead)
    assert pass_on(head.block, STOPPED)
    assert head.length >= -1
    assert head.target[:1] == b"/" or (head.target == b"*" and head.method == b"OPTIONS")
    spelled = spelled_request(head)
    if head.host is None:
        assert head.minor == b"0"
        spelled = spelled.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    again = parse_request(spelled)
    assert again.block == head.block
    assert (again.method, again.target, again.host, again.length) == (
        head.method, head.target, head.host, head.length,
    )  # fmt: skip


def response_or_refusal(raw: bytes, method: bytes) -> None:
    try:
        head = parse_response(raw, method)
    except ResponseRefused:
        return
    assert isinstance(head, ResponseHead)
    assert pass_on(head.block, STOPPED_IN_ANSWERS)
    assert 100 <= head.status <= 999
    assert head.reason[:1] == b" "
    assert head.length >= -2
    again = parse_response(spelled_response(head), method)
    assert (again.status, again.reason, again.block) == (head.status, head.reason, head.block)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_refusal(start):
    request_or_refusal(start + b"\r\n\r\n")


@given(st.binary(max_size=200), st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_any_bytes_are_a_response_or_a_refusal(start, method):
    response_or_refusal(start + b"\r\n\r\n", method)


@given(st.binary(max_size=60))
def test_any_bytes_as_field_lines(lines):
    request_or_refusal(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n")
    response_or_refusal(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n", b"GET")


@st.composite
def mutated(draw, seeds: list[bytes]) -> bytes:
    """A message of the corpus with a few places cut out, doubled or written over, maybe two of them spliced."""
    raw: bytes = draw(st.sampled_from(seeds))
    if draw(st.booleans()):
        other = draw(st.sampled_from(seeds))
        raw = raw[: draw(st.integers(0, len(raw)))] + other[draw(st.integers(0, len(other))) :]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        stop = start + draw(st.integers(0, 8))
        raw = raw[:start] + draw(ODD | st.just(raw[start:stop] * 2) | st.just(b"")) + raw[stop:]
    return raw


@settings(max_examples=1000)
@given(mutated(REQUESTS))
def test_mutated_requests(raw):
    request_or_refusal(raw)


@settings(max_examples=1000)
@given(mutated(RESPONSES), st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_mutated_responses(raw, method):
    response_or_refusal(raw, method)
