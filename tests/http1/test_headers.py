"""Field lines: which are well formed, how they are respelled, and which of them a Connection field removes."""

from __future__ import annotations

import re

import pytest

from crossfade.http1.headers import (
    CANONICAL_LINES,
    DIGITS,
    HOST,
    LOOSE_LINES,
    PROTECTED,
    REQUEST_ID,
    members,
    nominated,
    respell,
    underscore_variants,
    without,
)


@pytest.mark.parametrize(
    ("block", "canonical", "loose"),
    [
        (b"", True, True),
        (b"A: 1\r\nb-C: x y\r\n", True, True),
        (b"A: \r\n", True, True),
        (b"A: caf\xc3\xa9\ttab\r\n", True, True),
        (b"A:1\r\n", False, True),
        (b"A:  1\r\n", False, True),
        (b"A:\t1\r\n", False, True),
        (b"A : 1\r\n", False, False),
        (b" A: 1\r\n", False, False),
        (b"A: 1\n", False, False),
        (b"A: 1\r\n folded\r\n", False, False),
        (b"A: \x00\r\n", False, False),
        (b"A: \x7f\r\n", False, False),
        (b"A: a\rb\r\n", False, False),
        (b": 1\r\n", False, False),
        (b"A\r\n", False, False),
        (b"A: 1", False, False),
    ],
)
def test_lines(block: bytes, canonical: bool, loose: bool):
    assert bool(re.fullmatch(CANONICAL_LINES, block)) == canonical
    assert bool(re.fullmatch(LOOSE_LINES, block)) == loose


def test_lines_are_respelled_as_they_are_written_canonically():
    block = b"A:1\r\nB: \t two words \t\r\nC:\r\nD: a:b\r\n"
    assert re.fullmatch(LOOSE_LINES, block)
    assert respell(block) == b"A: 1\r\nB: two words\r\nC: \r\nD: a:b\r\n"
    assert respell(respell(block)) == respell(block)
    assert re.fullmatch(CANONICAL_LINES, respell(block))
    assert respell(b"") == b""


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b"close", {b"close"}),
        (b"Keep-Alive,\tX-Foo , upgrade", {b"keep-alive", b"x-foo", b"upgrade"}),
        (b"close, Host, Content-Length, TRANSFER-ENCODING, x-request-id, TraceParent", {b"close"}),
    ],
)
def test_a_connection_field_names_others_but_never_those_that_frame_or_route(value: bytes, names: set[bytes]):
    assert nominated(value) == names


def test_members_of_a_list_are_lower_cased_and_stripped():
    assert members(b"A, b ,\tC") == {b"a", b"b", b"c"}
    assert members(b"a,,b") == {b"a", b"", b"b"}
    assert b"host" in PROTECTED


def test_fields_are_taken_out_by_name_whatever_their_case():
    block = b"A: 1\r\nX-B: 2\r\na: 3\r\nAB: 4\r\n"
    assert without(block, {b"a"}) == b"X-B: 2\r\nAB: 4\r\n"
    assert without(block, {b"x-b", b"ab"}) == b"A: 1\r\na: 3\r\n"
    assert without(block, frozenset()) == block
    assert without(block, {b"a", b"x-b", b"ab"}) == b""


def test_hyphens_may_come_as_underscores():
    assert underscore_variants(b"a-b-c") == {b"a-b-c", b"a_b-c", b"a-b_c", b"a_b_c"}
    assert underscore_variants(b"host") == {b"host"}


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (DIGITS, [b"0", b"9" * 18], [b"", b"9" * 19, b"1a", b"+1", b"-1", b"1_0"]),
        (REQUEST_ID, [b"a", b"A-z0.9_~+/=:@", b"x" * 128], [b"", b"x" * 129, b"a b", b'a"', b"a\r\n", b"a,b"]),
        (HOST, [b"h", b"h:80", b"h:", b"[::1]:8080", b"[fe80::1]", b"a_b-c.d~"], [b"", b":80", b"h:123456", b"a b", b"a/b", b"a@b", b"[::1", b"h:x"]),
    ],
    ids=["digits", "request id", "host"],
)  # fmt: skip
def test_values_of_a_certain_form(pattern: re.Pattern[bytes], good: list[bytes], bad: list[bytes]):
    assert [value for value in good if not pattern.fullmatch(value)] == []
    assert [value for value in bad if pattern.fullmatch(value)] == []
