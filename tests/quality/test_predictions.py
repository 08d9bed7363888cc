"""KServe v1, TensorFlow Serving and MLflow: `predictions` and what stands for it."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.quality.prediction import Protocol
from tests.quality.reading import declared, read, values

PREDICTIONS: list[tuple[Any, list[list[tuple[Any, ...]]]]] = [
    ([0.25, 1.5], [[("score", 0.25)], [("number", 1.5)]]),
    ([1, 0], [[("label", 1)], [("label", 0)]]),
    (["cat", "x" * 65], [[("label", "cat")], [("text", "x" * 65)]]),
    ([True], [[("label", True)]]),
    ([[0.25, 0.75], [-1, 2.5]], [[("vector", (0.25, 0.75))], [("embedding", (-1.0, 2.5))]]),
    ([[[0.5]]], [[("score", 0.5)]]),
    ([[[0.1, 0.2], [0.3, 0.4]]], [[("vector", (0.1, 0.2, 0.3, 0.4))]]),
    ([["a", "b"]], [[("text", "a\nb")]]),
    (
        [{"p": 0.5, "class": "low", "why": {"x": -2.5}, "note": None}],
        [[("score", 0.5, "p"), ("label", "low", "class"), ("number", -2.5, "why.x")]],
    ),
    (
        {"p": [0.5, 0.75], "c": ["a", "b"]},
        [[("score", 0.5, "p"), ("label", "a", "c")], [("score", 0.75, "p"), ("label", "b", "c")]],
    ),
    ({"p": [[0.5]], "model": "m1"}, [[("label", "m1", "model"), ("score", 0.5, "p")]]),
    ({"p": 0.5}, [[("score", 0.5, "p")]]),
    ({"columns": ["p", 7], "data": [[0.5, "a"]], "index": [0]}, [[("score", 0.5, "p"), ("label", "a", "7")]]),
    (0.5, [[("score", 0.5)]]),
    ([], []),
]


@pytest.mark.parametrize("protocol", ["kserve_v1", "mlflow"])
@pytest.mark.parametrize(("predictions", "rows"), PREDICTIONS)
def test_all_that_a_row_has(protocol: Protocol, predictions: Any, rows: Any) -> None:
    answer = read({"predictions": predictions}, declared(protocol))
    assert (values(answer), answer.unread, answer.error) == (rows, "", "")


@pytest.mark.parametrize("outputs", [[0.5, 0.75], {"p": [0.5, 0.75]}, {"p": [[0.5], [0.75]]}])
def test_tensorflow_serving_by_column(outputs: Any) -> None:
    answer = read({"outputs": outputs}, declared("kserve_v1"))
    assert [row[0].value for row in answer.rows] == [0.5, 0.75]


@pytest.mark.parametrize("body", [[0.5], [{"0": 0.5}], {"columns": ["0"], "index": [0], "data": [[0.5]]}])
def test_mlflow_without_the_member(body: Any) -> None:
    answer = read(body, declared("mlflow"))
    assert [row[0].value for row in answer.rows] == [0.5]


@pytest.mark.parametrize(
    ("predictions", "rows"),
    [
        ([{"p": 3, "c": 1, "z": 0.1}], [[("number", 3, "p"), ("label", 1, "c")]]),
        ({"p": [0.5], "c": ["low"], "z": [1]}, [[("score", 0.5, "p"), ("label", "low", "c")]]),
        (
            [{"p": [0.25, 0.75], "c": [-4, 9]}],
            [[("vector", (0.25, 0.75), "p"), ("vector", (-4.0, 9.0), "c")]],
        ),
    ],
)
def test_declared_names_pick_columns(predictions: Any, rows: Any) -> None:
    assert values(read({"predictions": predictions}, declared("mlflow", score="p", label="c"))) == rows


@pytest.mark.parametrize("predictions", [[{"out": {"p": 0.5}}], [{"out.p": 0.5}], {"out.p": [0.5]}])
def test_a_declared_name_has_dots_or_leads_into_objects(predictions: Any) -> None:
    answer = read({"predictions": predictions}, declared("kserve_v1", score="out.p"))
    assert values(answer) == [[("score", 0.5, "out.p")]]


def test_a_prediction_without_a_name_is_declared_as_predictions() -> None:
    assert values(read({"predictions": [3]}, declared("kserve_v1", score="predictions"))) == [[("number", 3)]]
    assert read({"predictions": [3]}, declared("kserve_v1", score="p")).unread == "missing"


@pytest.mark.parametrize("protocol", ["kserve_v1", "mlflow"])
@pytest.mark.parametrize(
    ("body", "unread", "error"),
    [
        (b'{"error": "no such model"}', "", "error_member"),
        (b'{"error": {"message": "x"}, "predictions": [0.5]}', "", "error_member"),
        (b'{"predictions": [0.5], "error": null}', "", ""),
        (b'{"predictions": [0.5, NaN]}', "", "not_a_number"),
        (b'{"predictions": [0.5, null]}', "", "not_a_number"),
        (b'{"predictions": [[0.5, null]]}', "", "not_a_number"),
        (b'{"predictions": [[0.5, 1e999]]}', "", "not_a_number"),
        (b'{"predictions": [[0.5, 1e300]]}', "range", ""),
        (b'{"predictions": [[0.5, 1' + b"0" * 400 + b"]]}", "range", ""),
        (b'{"predictions": [[0.5, "a"]]}', "type", ""),
        (b'{"predictions": [[]]}', "shape", ""),
        (b'{"predictions": {"a": [1], "b": [1, 2]}}', "shape", ""),
        (b'{"predictions": {"columns": ["a"], "data": [[1, 2]]}}', "shape", ""),
        (b'{"answers": [1]}', "shape", ""),
        (b"null", "shape", ""),
    ],
)
def test_errors_and_what_is_not_read(protocol: Protocol, body: bytes, unread: str, error: str) -> None:
    answer = read(body, declared(protocol))
    assert (answer.unread, answer.error) == (unread, error)


def test_mlflow_names_its_error_by_a_code() -> None:
    body = {"error_code": "BAD_REQUEST", "message": "no"}
    assert read(body, declared("mlflow")).error == "error_member"


def test_limits() -> None:
    batch = read({"predictions": [0.5] * 10_001}, declared("kserve_v1"))
    assert (len(batch.rows), batch.unread) == (10_000, "")
    assert read({"predictions": [[0.5] * 4096]}, declared("kserve_v1")).unread == ""
    assert read({"predictions": [[0.5] * 4097]}, declared("kserve_v1")).unread == "size"
    wide = read({"predictions": [{str(index): index for index in range(300)}]}, declared("kserve_v1"))
    assert (len(wide.rows[0]), wide.unread) == (256, "size")
    columns = {str(index): [1] for index in range(300)}
    assert read({"predictions": columns}, declared("kserve_v1")).unread == "size"
    split = {"columns": list(columns), "data": []}
    assert read({"predictions": split}, declared("kserve_v1")).unread == "size"
