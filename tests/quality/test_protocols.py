"""`protocol: auto`: by shape and path; and what may arrive of any protocol."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from crossfade.quality.prediction import Protocol
from crossfade.quality.protocols import protocol_of_path
from tests.quality.reading import declared, read, values

TENSOR = {"name": "p", "shape": [1], "datatype": "FP32", "data": [0.5]}


@pytest.mark.parametrize(
    ("target", "protocol"),
    [
        (b"/v2/models/m/infer", "oip_v2"),
        (b"/ns/v2/models/m/versions/3/infer?x=/invocations", "oip_v2"),
        (b"/v1/models/m:predict", "kserve_v1"),
        (b"/v1/models/m/versions/3:predict", "kserve_v1"),
        (b"/v1/models/m/versions/3:classify", "kserve_v1"),
        (b"/v1/models/m:regress", "kserve_v1"),
        (b"/v1/responses", "openai"),
        (b"/survey/responses", "json"),
        (b"/invocations/", "mlflow"),
        (b"/v1/chat/completions", "openai"),
        (b"/v1/completions", "openai"),
        (b"/openai/v1/embeddings", "openai"),
        (b"/predict", "json"),
        (b"/infer", "json"),
        (b"", "json"),
    ],
)
def test_the_protocol_of_a_path(target: bytes, protocol: str) -> None:
    assert protocol_of_path(target) == protocol


@pytest.mark.parametrize(
    "target", [b"/", b"/v2/models/m/infer", b"/v1/models/m:predict", b"/v1/completions", b"*"]
)
@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({"outputs": [TENSOR]}, [[("score", 0.5, "p")]]),
        ({"predictions": [0.5]}, [[("score", 0.5)]]),
        ({"outputs": {"p": [0.5]}}, [[("score", 0.5, "p")]]),
        ({"choices": [{"message": {"content": "x"}}]}, [[("text", "x")]]),
        ({"data": [{"embedding": [1.0, 2.0]}]}, [[("embedding", (1.0, 2.0))]]),
        ({"p": 0.5}, []),
        ([0.5], []),
        ({"data": []}, []),
        ({"outputs": []}, []),
    ],
)
def test_the_shape_decides(target: bytes, body: Any, rows: Any) -> None:
    answer = read(body, declared("auto"), target)
    assert (values(answer), answer.unread, answer.error) == (rows, "", "")


def test_what_is_empty_is_of_the_protocol_of_its_path() -> None:
    assert read({"choices": []}, declared("auto"), b"/v1/completions").error == "empty"
    assert read({"choices": []}, declared("auto")).error == ""


def test_a_list_is_mlflow_by_its_path() -> None:
    assert values(read([0.5], declared("auto"), b"/invocations")) == [[("score", 0.5)]]


@pytest.mark.parametrize("target", [b"/", b"/invocations", b"/v2/models/m/infer"])
def test_another_shape_is_plain_json(target: bytes) -> None:
    assert values(read({"p": 0.5}, declared("auto", score="p"), target)) == [[("score", 0.5, "p")]]


def test_names_may_be_paths_where_no_output_has_them() -> None:
    body = {"predictions": [{"p": 0.5}]}
    assert values(read(body, declared("auto", score="p"))) == [[("score", 0.5, "p")]]
    by_path = declared("auto", score="predictions.0.p")
    assert values(read(body, by_path)) == [[("score", 0.5, "predictions.0.p")]]
    assert read(body, declared("auto", score="q")).unread == "missing"


@pytest.mark.parametrize(
    ("target", "body", "error"),
    [
        (b"/v2/models/m/infer", {"error": "x"}, "oip_error"),
        (b"/v1/models/m:predict", {"error": "x"}, "error_member"),
        (b"/invocations", {"error_code": "INTERNAL_ERROR", "message": "x"}, "error_member"),
        (b"/v1/chat/completions", {"error": {"message": "x"}}, "error_member"),
        (b"/predict", {"error": "x"}, ""),
    ],
)
def test_an_error_is_one_of_the_protocol_of_the_path(target: bytes, body: Any, error: str) -> None:
    assert read(body, declared("auto"), target).error == error


@pytest.mark.parametrize("protocol", get_args(Protocol))
def test_what_no_protocol_reads(protocol: Protocol) -> None:
    prediction = declared(protocol)
    assert read(None, prediction).unread == "size"
    assert read(b"{}", prediction, cut=True).unread == "size"
    assert read(b"{}", prediction, broken=True).unread == "broken"
    assert read(b"[" + b"1," * (2 << 20) + b"1]", prediction).unread == "size"
    assert read(b"[" * 100_000, prediction).unread == "depth"
    assert read(b'{"\xff": 1}', prediction).unread == "utf8"
    assert read(b"", prediction).unread == "not_json"
