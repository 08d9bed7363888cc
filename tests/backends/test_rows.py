"""Rows: which values are accepted, and errors that name every wrong field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_backends.data import FEATURES
from crossfade_backends.replies import Refused
from crossfade_backends.rows import LIMITS, MAX_PROBLEMS, MAX_ROWS, Batch, CustomerRow, as_matrix, parse_body
from tests.backends.serving import ROW


def parse(**changes: Any) -> CustomerRow:
    return parse_body(CustomerRow, json.dumps(ROW | changes).encode())


def refusal(schema: Any, body: bytes) -> Refused:
    with pytest.raises(Refused) as refused:
        parse_body(schema, body)
    return refused.value


def test_the_fields_of_a_row_are_the_customer_id_and_the_features():
    assert tuple(CustomerRow.model_fields) == ("customer_id", *FEATURES)
    assert tuple(LIMITS) == FEATURES


def test_the_matrix_has_the_order_of_the_features():
    assert as_matrix([parse(), parse(support_tickets_90d=9)]).tolist() == [
        [3, 80.5, 4, 1, 200],
        [3, 80.5, 4, 9, 200],
    ]


@pytest.mark.parametrize("customer", ["C1", " x ", "é", "c" * 256, 0, 17, -4, 2**63 - 1])
def test_a_valid_customer_id_is_not_changed(customer):
    assert parse(customer_id=customer).customer_id == customer


@pytest.mark.parametrize("customer", ["", "   ", "c" * 257, None, True, 1.0, 2**63, [1], {"a": 1}])
def test_an_invalid_customer_id_is_refused(customer):
    [problem] = refusal(CustomerRow, json.dumps(ROW | {"customer_id": customer}).encode()).problems
    assert problem.loc == ("body", "customer_id")
    assert "non-empty string" in problem.msg


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize(
    "text",
    ["-1", "NaN", "Infinity", "-Infinity", "1e999", "null", '"3"', "true", "[]", "{}", "1" + "0" * 400],
)
def test_an_invalid_value_is_refused_in_every_feature(feature, text):
    body = json.dumps(ROW | {feature: "@"}).replace('"@"', text).encode()
    refused = refusal(CustomerRow, body)
    assert refused.status == 422
    assert [problem.loc for problem in refused.problems] == [("body", feature)]
    assert str(refused).startswith(f"{feature}: ")


@pytest.mark.parametrize("feature", FEATURES)
def test_a_value_above_the_limit_is_refused(feature):
    assert getattr(parse(**{feature: LIMITS[feature]}), feature) == LIMITS[feature]
    assert getattr(parse(**{feature: 0}), feature) == 0
    refused = refusal(CustomerRow, json.dumps(ROW | {feature: LIMITS[feature] + 1}).encode())
    assert refused.problems[0].loc == ("body", feature)


def test_only_the_amount_may_have_decimals():
    refused = refusal(CustomerRow, json.dumps(dict.fromkeys(FEATURES, 0.5) | {"customer_id": 1}).encode())
    assert {problem.loc[1] for problem in refused.problems} == set(FEATURES) - {"total_amount_30d"}


@given(st.sets(st.sampled_from(["customer_id", *FEATURES])), st.sets(st.sampled_from(FEATURES)))
def test_all_wrong_fields_are_named_at_once(missing, negative):
    row = ROW | dict.fromkeys(negative, -1)
    body = json.dumps({name: value for name, value in row.items() if name not in missing}).encode()
    if not missing | negative:
        assert parse_body(CustomerRow, body) == parse()
        return
    refused = refusal(CustomerRow, body)
    assert {problem.loc for problem in refused.problems} == {("body", name) for name in missing | negative}


def test_unknown_keys_are_ignored():
    assert parse(model="churn", nested={"a": [1]}) == parse()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b'{"customer_id": "C1",}', b"\xff\xfe", b'"\\ud800"']
)
def test_a_body_that_is_not_json_gets_a_400(body):
    assert refusal(CustomerRow, body).status == 400


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(body):
    assert refusal(CustomerRow, body).status in (400, 422)


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'"x"'])
def test_json_that_is_no_object_gets_a_422(body):
    refused = refusal(CustomerRow, body)
    assert (refused.status, refused.problems[0].loc) == (422, ("body",))


def test_the_errors_of_a_batch_name_row_and_field():
    rows = [ROW, ROW | {"total_amount_30d": -1}, {"customer_id": ""}]
    refused = refusal(Batch, json.dumps({"rows": rows}).encode())
    assert refused.status == 422
    assert refused.problems[0].loc == ("body", "rows", 1, "total_amount_30d")
    assert [problem.loc[2:] for problem in refused.problems[1:]] == [
        (2, name) for name in ("customer_id", *FEATURES)
    ]


def test_too_many_rows_get_a_413_whether_they_are_valid_or_not():
    for row in (ROW, {}):
        assert refusal(Batch, json.dumps({"rows": [row] * (MAX_ROWS + 1)}).encode()).status == 413
    assert len(parse_body(Batch, json.dumps({"rows": [ROW] * MAX_ROWS}).encode()).rows) == MAX_ROWS


@pytest.mark.parametrize("body", [b"{}", b'{"rows": []}', b'{"rows": {}}', b'{"rows": null}'])
def test_a_batch_without_rows_gets_a_422(body):
    refused = refusal(Batch, body)
    assert refused.status == 422
    assert refused.problems[0].loc == ("body", "rows")


def test_a_long_list_of_problems_is_cut_and_counts_the_rest():
    refused = refusal(Batch, json.dumps({"rows": [{}] * 50}).encode())
    assert len(refused.problems) == MAX_PROBLEMS + 1
    assert refused.problems[-1].msg == "200 more problems"
