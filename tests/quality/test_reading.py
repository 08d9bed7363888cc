"""Whatever a backend answers: reading it never raises, and what is read is typed."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.quality.answer import Answer, Output, RawAnswer, decision_of, score_of
from crossfade.quality.prediction import Prediction, Protocol, SegmentSource
from crossfade.quality.reading import read_answer
from crossfade.quality.segments import segment_values
from crossfade.quality.unreadable import ERRORS, UNREAD
from tests.quality.reading import declared, path

NAMES = [
    *("p", "error", "error_code", "predictions", "outputs", "columns", "data", "name", "shape", "datatype"),
    *("parameters", "binary_data_size", "choices", "message", "delta", "content", "text", "finish_reason"),
    *("index", "embedding", "usage", "completion_tokens", "tool_calls", "function", "object"),
    *("type", "status", "output", "done", "done_reason", "arguments", "model", "response"),
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["p", "FP32", "BYTES", "INT64", "BOOL", "error", "x" * 70, "AACAPwAAAAA="]),
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), DOCUMENTS, max_size=4)
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["p", "q"]),
        "shape": st.lists(st.integers(-1, 3), max_size=3),
        "datatype": st.sampled_from(["FP32", "INT8", "BYTES", "BOOL", "FP16", "BF16", "UINT64"]),
        "data": st.lists(LEAVES, max_size=9) | st.none(),
        "parameters": st.dictionaries(st.just("binary_data_size"), st.integers(-1, 20)),
    }
)
SHAPED = st.one_of(
    DOCUMENTS,
    st.fixed_dictionaries({"outputs": st.lists(TENSORS, max_size=3)}),
    st.fixed_dictionaries({"predictions": DOCUMENTS}),
    st.fixed_dictionaries({"choices": st.lists(DOCUMENTS, max_size=3)}),
    st.fixed_dictionaries({"results": DOCUMENTS}),
    st.fixed_dictionaries(
        {"results": st.lists(st.lists(st.tuples(st.sampled_from(["", "p"]), LEAVES), max_size=3))}
    ),
    st.builds(lambda more: {"object": "response", "output": []} | more, OBJECTS),
    st.builds(lambda more: {"type": "response.completed"} | more, OBJECTS),
    st.builds(lambda more: {"done": True, "model": "m", "message": {}} | more, OBJECTS),
    st.fixed_dictionaries({"data": st.lists(st.fixed_dictionaries({"embedding": DOCUMENTS}), max_size=3)}),
)
BODIES = st.one_of(
    st.binary(max_size=60),
    SHAPED.map(lambda document: json.dumps(document).encode()),
    st.tuples(SHAPED, st.binary(max_size=40)).map(lambda both: json.dumps(both[0]).encode() + both[1]),
    st.lists(SHAPED, max_size=4).map(
        lambda each: b"".join(b"data: " + json.dumps(d).encode() + b"\n\n" for d in each)
    ),
    st.lists(SHAPED, max_size=4).map(lambda each: b"\n".join(json.dumps(d).encode() for d in each)),
    SHAPED.map(lambda document: gzip.compress(json.dumps(document).encode())),
    st.none(),
)
HEADS = st.lists(
    st.sampled_from(
        [
            *(
                b"Content-Encoding: gzip\r\n",
                b"Content-Encoding: deflate, br\r\n",
                b"Content-Encoding: zstd\r\n",
            ),
            *(b"Content-Type: text/event-stream\r\n", b"Content-Type: application/json\r\n"),
            b"Content-Type: application/x-ndjson\r\n",
            *(b"Inference-Header-Content-Length: 2\r\n", b"Inference-Header-Content-Length: 60\r\n"),
            *(b"Inference-Header-Content-Length: x\r\n", b"Content-Encoding", b"\n\n:"),
        ]
    ),
    max_size=3,
).map(b"".join)
RAW = st.builds(
    RawAnswer,
    status=st.sampled_from([200, 200, 200, 299, 0, 404]),
    head=HEADS,
    body=BODIES,
    seconds=st.floats(0, 9),
    cut=st.booleans(),
    pieces=st.lists(st.tuples(st.integers(-1, 300), st.floats(0, 9)), max_size=4).map(tuple),
    broken=st.booleans(),
)
DECLARED = st.builds(
    Prediction,
    score=st.sampled_from(["", "p", "predictions", "predictions.0", "choices.0.message"]).map(path),
    label=st.sampled_from(["", "p", "q", "outputs.0.data"]).map(path),
    protocol=st.sampled_from(get_args(Protocol)),
    segment=st.just(
        (SegmentSource("answer", "outputs.0"), SegmentSource("json", "p"), SegmentSource("query", "a"))
    ),
)
TARGETS = st.sampled_from(
    [
        b"/",
        b"/v2/models/m/infer?a=1",
        b"/invocations",
        b"/v1/models/m:predict",
        b"/v1/models/m:classify",
        b"/v1/completions",
    ]
)


@given(RAW, TARGETS, DECLARED)
def test_an_answer_is_read_or_has_a_reason(raw: RawAnswer, target: bytes, prediction: Prediction) -> None:
    answer = read_answer(raw, target, prediction)
    assert answer.error in ("", *ERRORS)
    assert answer.unread in ("", *UNREAD)
    for row in answer.rows:
        for output in row:
            check(output)
        score_of(row)
        decision_of(row, None)
    check_stream(answer)
    texts = segment_values(prediction, answer, target, raw.head, raw.body)
    assert all(len(text) <= 256 for text in texts)


def check(output: Output) -> None:
    assert isinstance(output.name, str)
    value: Any = output.value
    match output.kind:
        case "score":
            assert type(value) in (int, float)
            assert 0 <= value <= 1
        case "number":
            assert type(value) in (int, float)
            assert -1e300 < value < 1e300
        case "label":
            assert type(value) in (bool, int, float, str)
            assert type(value) is str or -1e300 < value < 1e300
        case "text":
            assert type(value) is str
        case "vector" | "embedding":
            assert type(value) is tuple
            assert 1 <= len(value) <= 4096
            assert all(type(each) is float and math.isfinite(each) for each in value)


def check_stream(answer: Answer) -> None:
    stream = answer.stream
    if stream is None:
        return
    assert all(gap >= 0 for gap in stream.gaps)
    assert stream.first_token is not None or not (stream.gaps or stream.broken or stream.stalls)
    assert stream.tokens_per_second is None or stream.tokens_per_second > 0


@pytest.mark.parametrize("status", [0, 199, 301, 404, 500])
def test_only_an_answer_with_success_is_read(status: int) -> None:
    assert read_answer(RawAnswer(status, b"", b"{}"), b"/", declared()).unread == "status"


def test_each_reason_has_one_name() -> None:
    assert len({*ERRORS, *UNREAD}) == len(ERRORS) + len(UNREAD)
