"""Incomplete heads: refused as soon as no further byte can make a valid one, with the status of the whole head."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.errors import RequestRefused, ResponseRefused
from crossfade.http1.incomplete import check_request, check_response, is_check_due
from tests.fuzz.laws import incomplete_request, incomplete_response
from tests.http1.corpus import messages, name_of
from tests.http1.test_corpus import REQUESTS, RESPONSES, mutated
from tests.tries import tries

HOST = b"GET / HTTP/1.1\r\nHost: h\r\n"
CANNOT_BE_REQUESTS = [
    b"\n", b"\rG", b"\x00", b" ", b"G\x00", b"G(", b"GET\r", b"GET\n", b"GET  ", b"GET\t", b"GET /\n", b"GET /\r",
    b"GET /#", b"GET / X", b"GET / http", b"GET / HTTP/1.10", b"GET / HTTP/1.1 ", b"GET / HTTP/1.1\n", b"GET /\r\n",
    b"GET / HTTP/1.1\rH", b"HTTP/1.1 200", b"GET / HTTP/1.1\r\n ", b"GET / HTTP/1.1\r\n:", b"GET / HTTP/1.1\r\nH h",
    HOST + b"X-A: 1\n", HOST + b"X-A\n", HOST + b"\n", HOST + b"X-A: 1\rX", HOST + b"\rX", HOST + b" folded",
    HOST + b"X-A :", HOST + b"X-A: \x00", HOST + b"X-A: \x7f", HOST + b"Host: h\r\n", HOST + b"no colon\r\n",
    HOST + b"Content-Length: x\r\n", HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
]  # fmt: skip
CAN_BE_REQUESTS = [
    b"", b"\r", b"G", b"GET", b"GET ", b"GET /", b"GET / ", b"GET / HTTP", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r",
    b"GET http:", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n\r", HOST, HOST + b"\r", HOST + b"X", HOST + b"X:",
    HOST + b"X:\t", HOST + b"X: \xff", HOST + b"X: \r", b"PRI * HTTP/2.0", b"!#$ /",
]  # fmt: skip
OK = b"HTTP/1.1 200 OK\r\n"
CANNOT_BE_RESPONSES = [
    b"\n", b"\r", b"\r\n", b"h", b"ICY", b"SSH-", b"HTTP/2", b"HTTP/1.2", b"HTTP/1.1\t", b"HTTP/1.1 0", b"HTTP/1.1 2x",
    b"HTTP/1.1 200\n", b"HTTP/1.1 200x", b"HTTP/1.1 200 OK\n", b"HTTP/1.1 200 O\x00", b"HTTP/1.1 200 OK\rC",
    OK + b"\n", OK + b" fold", OK + b"A: 1\n", OK + b"A: 1\rB", OK + b"A B", OK + b" :", OK + b"no colon\r\n",
    OK + b"Content-Length: x\r\n", OK + b"Content-Length: 1\r\nContent-Length: 1\r\n",
]  # fmt: skip
CAN_BE_RESPONSES = [
    b"", b"H", b"HTTP/1.", b"HTTP/1.0 ", b"HTTP/1.1 20", b"HTTP/1.1 200", b"HTTP/1.1 200\r", b"HTTP/1.1 200 ",
    b"HTTP/1.1 200 \xff\t", b"HTTP/1.1 200 OK\r", OK, OK + b"\r", OK + b"A", OK + b"A \t", OK + b"A :", OK + b"A: \r",
]  # fmt: skip


@pytest.mark.parametrize("raw", CANNOT_BE_REQUESTS)
def test_a_beginning_that_cannot_become_a_request_is_refused(raw: bytes):
    with pytest.raises(RequestRefused) as refused:
        check_request(raw, 100)
    assert refused.value.status == 400


@pytest.mark.parametrize("raw", CAN_BE_REQUESTS)
def test_a_beginning_that_can_become_a_request_is_kept(raw: bytes):
    check_request(raw, 100)


@pytest.mark.parametrize("raw", CANNOT_BE_RESPONSES)
def test_a_beginning_that_cannot_become_a_response_is_refused(raw: bytes):
    with pytest.raises(ResponseRefused):
        check_response(raw)


@pytest.mark.parametrize("raw", CAN_BE_RESPONSES)
def test_a_beginning_that_can_become_a_response_is_kept(raw: bytes):
    check_response(raw)


def test_too_many_fields_are_refused_before_the_head_ends():
    with pytest.raises(RequestRefused) as refused:
        check_request(HOST + b"X: 1\r\n" * 10, 10)
    assert refused.value.status == 431


@pytest.mark.parametrize("path", messages("good") + messages("bad"), ids=name_of)
def test_corpus_requests_byte_by_byte(path: Path):
    incomplete_request(path.read_bytes())


@pytest.mark.parametrize("path", messages("good_responses") + messages("bad_responses"), ids=name_of)
def test_corpus_responses_byte_by_byte(path: Path):
    incomplete_response(path.read_bytes())


@settings(max_examples=tries(100))
@given(mutated(REQUESTS), st.sampled_from([b"", b"\r\n\r\n"]))
def test_law_an_early_refusal_of_a_request_is_the_refusal_of_the_whole(raw: bytes, end: bytes):
    incomplete_request(raw + end)


@settings(max_examples=tries(100))
@given(mutated(RESPONSES), st.sampled_from([b"", b"\r\n\r\n"]))
def test_law_an_early_refusal_of_a_response_is_the_refusal_of_the_whole(raw: bytes, end: bytes):
    incomplete_response(raw + end)


def test_a_head_that_comes_byte_by_byte_is_not_checked_for_each_byte():
    head = bytearray()
    checks = 0
    for n, byte in enumerate(HOST + b"X-A: %b\r\n" % (b"x" * 1000) * 60):
        head.append(byte)
        checks += is_check_due(head, n)
    assert checks < 1024 + 10


@pytest.mark.parametrize("piece", [b"\n", b"\rx", b"\x00", b"x\x7fx", b"x\nx"])
def test_a_byte_that_no_head_has_is_found_at_once(piece: bytes):
    head = bytearray(HOST + b"X-A: " + b"x" * 2000)
    assert not is_check_due(head, len(head) - 1)
    known = len(head)
    head += piece
    assert is_check_due(head, known)


def test_a_line_that_ends_between_two_pieces_is_no_fault():
    head = bytearray(HOST + b"X-A: " + b"x" * 2000)
    for piece in (b"\r", b"\n", b"\r"):
        known = len(head)
        head += piece
        assert not is_check_due(head, known)
