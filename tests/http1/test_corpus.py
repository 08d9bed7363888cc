"""Law 11 over the corpus: good messages are parsed, bad ones are refused, mutated ones are either."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.errors import RequestRefused, ResponseRefused
from crossfade.http1.request_head import parse_request
from crossfade.http1.response_head import parse_response
from tests.http1.corpus import messages, name_of, serialised_request, serialised_response
from tests.http1.laws import request_or_refusal, response_or_refusal
from tests.tries import tries

GOOD, BAD = messages("good"), messages("bad")
GOOD_RESPONSES, BAD_RESPONSES = messages("good_responses"), messages("bad_responses")
REQUESTS = [path.read_bytes() for path in GOOD + BAD]
RESPONSES = [path.read_bytes() for path in GOOD_RESPONSES + BAD_RESPONSES]

INSERTED = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\x00", b"\x0b", b" ", b"\t", b":", b",", b"chunked", b"5", b"Host: a\r\n",
     b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close, host\r\n", b"\xff"]
)  # fmt: skip


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_a_good_request_is_parsed(path: Path):
    head = parse_request(path.read_bytes())
    assert serialised_request(head) == path.with_suffix(".out").read_bytes()


@pytest.mark.parametrize("path", BAD, ids=name_of)
def test_a_bad_request_is_refused_with_its_status(path: Path):
    with pytest.raises(RequestRefused) as refused:
        parse_request(path.read_bytes())
    assert refused.value.status == int(path.stem[:3])
    assert refused.value.failure.source == "downstream"


@pytest.mark.parametrize("path", GOOD_RESPONSES, ids=name_of)
def test_a_good_response_is_parsed(path: Path):
    head = parse_response(path.read_bytes(), b"POST")
    assert serialised_response(head) == path.with_suffix(".out").read_bytes()


@pytest.mark.parametrize("path", BAD_RESPONSES, ids=name_of)
def test_a_bad_response_is_refused(path: Path):
    with pytest.raises(ResponseRefused):
        parse_response(path.read_bytes(), b"POST")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_refusal(start):
    request_or_refusal(start + b"\r\n\r\n")


@given(st.binary(max_size=200), st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_any_bytes_are_a_response_or_a_refusal(start, method):
    response_or_refusal(start + b"\r\n\r\n", method)


@given(st.binary(max_size=60))
def test_any_bytes_as_field_lines_are_a_message_or_a_refusal(lines):
    request_or_refusal(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n")
    response_or_refusal(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n", b"GET")


@st.composite
def mutated(draw, seeds: list[bytes]) -> bytes:
    """A corpus message, or two joined, with a few places removed, doubled or overwritten."""
    raw: bytes = draw(st.sampled_from(seeds))
    if draw(st.booleans()):
        other = draw(st.sampled_from(seeds))
        raw = raw[: draw(st.integers(0, len(raw)))] + other[draw(st.integers(0, len(other))) :]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        stop = start + draw(st.integers(0, 8))
        raw = raw[:start] + draw(INSERTED | st.just(raw[start:stop] * 2) | st.just(b"")) + raw[stop:]
    return raw


@settings(max_examples=tries(1000))
@given(mutated(REQUESTS))
def test_a_mutated_request_is_parsed_or_refused(raw):
    request_or_refusal(raw)


@settings(max_examples=tries(1000))
@given(mutated(RESPONSES), st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_a_mutated_response_is_parsed_or_refused(raw, method):
    response_or_refusal(raw, method)
