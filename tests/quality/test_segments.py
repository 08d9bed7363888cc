"""Where the values of segments are found."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from crossfade.quality.answer import Answer
from crossfade.quality.prediction import Prediction, SegmentSource
from crossfade.quality.segments import segment_value, segment_values

HEAD = b"POST /x?country=DE HTTP/1.1\r\nHost: a\r\nX-Tenant:  blue \r\nX-tenant: red\r\nX-Other: X-Tenant: no\r\n"


def found(
    *sources: SegmentSource, body: bytes | None = b'{"plan": {"name": "gold"}, "n": 3}', head: bytes = HEAD
) -> Any:
    answer = Answer(document={"risk": "high", "rows": [{"v": 1.5}], "yes": True, "none": None})
    target = b"/x?country=DE&city=S%C3%A3o+Paulo&empty&city=b"
    return segment_values(Prediction(segment=sources), answer, target, head, body)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (SegmentSource("answer", "risk"), "high"),
        (SegmentSource("answer", "rows.0.v"), "1.5"),
        (SegmentSource("answer", "yes"), "true"),
        (SegmentSource("answer", "none"), ""),
        (SegmentSource("answer", "rows"), ""),
        (SegmentSource("answer", "nothing"), ""),
        (SegmentSource("json", "plan.name"), "gold"),
        (SegmentSource("json", "n"), "3"),
        (SegmentSource("json", "plan"), ""),
        (SegmentSource("header", "X-Tenant"), "blue, red"),
        (SegmentSource("header", "tenant"), ""),
        (SegmentSource("header", "host"), "a"),
        (SegmentSource("query", "country"), "DE"),
        (SegmentSource("query", "city"), "São Paulo"),
        (SegmentSource("query", "empty"), ""),
        (SegmentSource("query", "nothing"), ""),
    ],
)
def test_each_source(source: SegmentSource, value: str) -> None:
    assert found(source) == (value,)


def test_values_are_in_the_order_of_the_sources() -> None:
    assert found(SegmentSource("query", "country"), SegmentSource("answer", "risk")) == ("DE", "high")
    assert found() == ()


@pytest.mark.parametrize("body", [None, b"", b"no json", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_known(body: bytes | None) -> None:
    assert found(SegmentSource("json", "plan.name"), body=body) == ("",)


def test_a_packed_body() -> None:
    source = SegmentSource("json", "plan")
    head = b"Content-Encoding: gzip\r\n"
    assert found(source, body=gzip.compress(b'{"plan": "gold"}'), head=head) == ("gold",)
    assert found(source, body=gzip.compress(bytes(5 << 20)), head=head) == ("",)
    assert found(source, body=b"{}", head=b"Content-Encoding: what\r\n") == ("",)


def test_a_head_that_is_no_text() -> None:
    assert found(SegmentSource("header", "x"), head=b"X: \xff") == ("\ufffd",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("é", "é"),
        ("x" * 256, "x" * 256),
        ("x" * 257, ""),
        (False, "false"),
        (0, "0"),
        (1e20, "1e+20"),
        (None, ""),
        ([], ""),
        ({}, ""),
    ],
)
def test_the_text_of_a_value(value: Any, text: str) -> None:
    assert segment_value(value) == text
