"""The Open Inference Protocol: both forms of tensors, and errors that name the tensor."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_backends.data import FEATURES, draw_sample
from crossfade_backends.inference import describe_model, parse_request, read_tensors
from crossfade_backends.replies import Refused
from crossfade_backends.rows import MAX_ROWS
from crossfade_backends.scoring import ServedModel, answer_alone, load_served_model
from tests.backends.serving import TENSOR


@pytest.fixture(scope="module")
def model(registry) -> ServedModel:
    return load_served_model(registry, "churn", "v3")


def infer_json(model: ServedModel, inputs: Any, **more: Any) -> dict[str, Any]:
    return answer_alone(
        read_tensors, json.dumps({"inputs": inputs, **more}).encode(), model, lambda scores: scores
    )


def by_feature(columns: list[list[Any]], **changes: Any) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": [len(column)], "datatype": "FP64", "data": column} | changes
        for name, column in zip(FEATURES, columns, strict=True)
    ]


def test_every_form_of_the_same_rows_gets_the_same_scores(model):
    rows = draw_sample(7, 3).features
    expected = model.score(rows)
    nested, flat = rows.tolist(), rows.ravel().tolist()
    columns = rows.T.tolist()
    forms = [
        [TENSOR | {"shape": [7, 5], "data": nested}],
        [TENSOR | {"shape": [7, 5], "data": flat, "name": "anything"}],
        by_feature(columns),
        by_feature(columns, shape=[7, 1]),
        by_feature([[[value] for value in column] for column in columns], shape=[7, 1]),
        list(reversed(by_feature(columns))),
    ]
    for inputs in forms:
        [output] = infer_json(model, inputs)["outputs"]
        assert output == {
            "name": "churn_probability",
            "datatype": "FP64",
            "shape": [7],
            "data": expected.tolist(),
        }


def test_fp32_values_are_rounded_to_single_precision(model):
    [output] = infer_json(model, [TENSOR | {"datatype": "FP32", "data": [3, 80.1, 4, 1, 200]}])["outputs"]
    rounded = np.array([[3, float(np.float32(80.1)), 4, 1, 200]])
    assert output["data"] == model.score(rounded).tolist()


def test_integer_tensors_are_accepted(model):
    [output] = infer_json(model, by_feature([[3], [80], [4], [1], [200]], datatype="INT64"))["outputs"]
    assert output["shape"] == [1]


def test_the_answer_names_the_model_and_echoes_the_id(model):
    assert infer_json(model, [TENSOR], id="q-1")["id"] == "q-1"
    answer = infer_json(model, [TENSOR], outputs=[{"name": "churn_probability"}], parameters={"x": 1})
    assert (answer["model_name"], answer["model_version"]) == ("churn", "v3")
    assert "id" not in answer


def test_the_described_tensors_are_accepted(model):
    described = describe_model(model)
    assert [tensor["name"] for tensor in described["inputs"]] == list(FEATURES)
    inputs = [tensor | {"shape": [1], "data": [1.0]} for tensor in described["inputs"]]
    [output] = infer_json(model, inputs)["outputs"]
    assert output.keys() >= described["outputs"][0].keys()
    assert output["name"] == described["outputs"][0]["name"]


ONE = [[3.0], [80.5], [4.0], [1.0], [200.0]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "inputs: List should have at least 1 item"),
        (None, "inputs: Input should be a valid array"),
        ([{}], "inputs.0.name: Field required; inputs.0.shape: Field required"),
        ([TENSOR | {"datatype": "BYTES"}], "'features': datatype 'BYTES'"),
        ([TENSOR | {"datatype": 64}], "inputs.0.datatype"),
        ([TENSOR | {"shape": [5]}], r"'features': shape \[5\] is not \[n, 5\]"),
        ([TENSOR | {"shape": [1, 4]}], r"shape \[1, 4\]"),
        ([TENSOR | {"shape": [-1, 5]}], "inputs.0.shape.0"),
        ([TENSOR | {"shape": [1.5, 5]}], "inputs.0.shape.0"),
        ([TENSOR | {"shape": [0, 5], "data": []}], "'features': 0 rows"),
        ([TENSOR | {"shape": [2, 5]}], r"5 values do not fill shape \[2, 5\]"),
        ([TENSOR | {"shape": [10**15, 5]}], "rows, must be 1 to"),
        ([TENSOR | {"shape": [2, 5], "data": [[1, 2, 3], [1, 2, 3, 4, 5, 6, 7]]}], "nested data"),
        ([TENSOR | {"data": [[[3, 80.5, 4, 1, 200]]]}], "nested data"),
        ([TENSOR | {"data": [3, [80.5], 4, 1, 200]}], "nested data"),
        ([TENSOR | {"data": [3, 80.5, 4, True, 200]}], "data is not all FP64 numbers"),
        ([TENSOR | {"data": [3, "80.5", 4, 1, 200]}], "data is not all FP64 numbers"),
        ([TENSOR | {"data": [3, None, 4, 1, 200]}], "data is not all FP64 numbers"),
        ([TENSOR | {"datatype": "INT64"}], "data is not all INT64 numbers"),
        ([TENSOR | {"data": [10**400, 1, 1, 1, 1]}], "out of range"),
        ([TENSOR | {"data": [1, float("nan"), 1, 1, 1]}], r"total_amount_30d\[0\] = nan"),
        ([TENSOR | {"data": [float("inf"), 1, 1, 1, 1]}], r"nb_transactions_30d\[0\] = inf"),
        ([TENSOR | {"datatype": "FP32", "data": [1, 1e300, 1, 1, 1]}], r"total_amount_30d\[0\] = inf"),
        (
            [TENSOR | {"shape": [2, 5], "data": [1, 1, -2, 1, 1, 1, 1, 1, 1, 99999]}],
            r"days_since_last_transaction\[0\] = -2 .*; subscription_age_days\[1\] = 99999",
        ),
        ([TENSOR, TENSOR], "missing: .*nb_transactions_30d"),
        (by_feature(ONE)[:4], r"missing: \['subscription_age_days'\]"),
        ([*by_feature(ONE)[:4], by_feature(ONE)[0]], r"missing: \['subscription_age_days'\]"),
        ([*by_feature(ONE), TENSOR], "expected one tensor, or one for each"),
        ([*by_feature(ONE)[:4], by_feature(ONE)[4] | {"shape": [2]}], "'subscription_age_days': shape"),
        (by_feature(ONE, shape=[]), "shape"),
        (by_feature(ONE, shape=[1, 2]), "shape"),
    ],
)
def test_the_error_for_an_invalid_tensor_names_it(model, inputs, message):
    with pytest.raises(Refused, match=message) as refused:
        infer_json(model, inputs)
    assert refused.value.status in (400, 413)


def test_too_many_rows_get_a_413(model):
    rows = MAX_ROWS + 1
    with pytest.raises(Refused, match=f"{rows} rows") as refused:
        infer_json(model, [TENSOR | {"shape": [rows, 5], "data": [1] * (5 * rows)}])
    assert refused.value.status == 413


def test_an_unknown_output_is_refused(model):
    with pytest.raises(Refused, match="unknown output 'label'"):
        infer_json(model, [TENSOR], outputs=[{"name": "label"}])


WORDS = st.text("ab", max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "shape", "datatype", "data"), JSON)))
def test_any_tensor_is_scored_or_refused(model, changes):
    try:
        answer = infer_json(model, [TENSOR | changes])
    except Refused as refused:
        assert refused.status in (400, 413)
        assert str(refused)
    else:
        assert 0 <= answer["outputs"][0]["data"][0] <= 1


@given(st.binary(max_size=100))
def test_any_bytes_are_parsed_or_refused(body):
    with pytest.raises(Refused) as refused:
        parse_request(body)
    assert refused.value.status == 400
