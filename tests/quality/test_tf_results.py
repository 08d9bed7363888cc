"""TensorFlow Serving's `:classify` and `:regress`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.quality.reading import declared, read, values

TARGET = b"/v1/models/churn/versions/3:classify"
CARS = {"results": [[["car", 0.2], ["bike", 0.7], ["bus", 0.1]], [["bus", 0.2], ["car", 0.7], ["bike", 0.1]]]}


@pytest.mark.parametrize("protocol", ["auto", "kserve_v1"])
@pytest.mark.parametrize("name", ["results", "result"])
def test_classes_are_in_the_order_of_their_names(protocol: Any, name: str) -> None:
    answer = read({name: CARS["results"]}, declared(protocol), TARGET)
    assert values(answer) == [
        [("label", "bike"), ("vector", (0.7, 0.1, 0.2))],
        [("label", "car"), ("vector", (0.1, 0.2, 0.7))],
    ]
    assert (answer.error, answer.unread) == ("", "")


def test_classes_without_names_stay_in_their_order() -> None:
    answer = read({"results": [[["", 0.6], ["", 0.4]]]}, declared("auto"), TARGET)
    assert values(answer) == [[("vector", (0.6, 0.4))]]


def test_one_class_is_a_score() -> None:
    assert values(read({"results": [[["yes", 0.6]]]}, declared("auto"), TARGET)) == [
        [("label", "yes"), ("score", 0.6)]
    ]


def test_a_declared_class_has_its_score_and_the_list_its_likeliest_label() -> None:
    answer = read(CARS, declared("auto", score="bus", label="results"), TARGET)
    assert values(answer) == [
        [("score", 0.1, "bus"), ("label", "bike")],
        [("score", 0.2, "bus"), ("label", "car")],
    ]
    assert read(CARS, declared("auto", score="tram"), TARGET).unread == "missing"
    assert read(CARS, declared("auto", label="bus"), TARGET).unread == "missing"


def test_of_classes_with_the_same_score_the_first_by_name_is_the_label() -> None:
    tie = {"results": [[["b", 0.5], ["a", 0.5]]]}
    assert values(read(tie, declared("auto", label="results"), TARGET)) == [[("label", "a")]]


@pytest.mark.parametrize("score", ["", "results"])
def test_regressions(score: str) -> None:
    answer = read({"results": [0.2, 9, 1.0]}, declared("auto", score=score), b"/v1/models/m:regress")
    assert values(answer) == [[("score", 0.2)], [("number", 9)], [("score", 1.0)]]
    assert read({"results": [0.2]}, declared("auto", score="p"), b"/v1/models/m:regress").unread == "missing"


@pytest.mark.parametrize(
    ("results", "error", "unread"),
    [
        ([float("inf")], "not_a_number", ""),
        ([None], "not_a_number", ""),
        (["x"], "", "type"),
        ([[["a", float("nan")], ["b", 0.1]]], "not_a_number", ""),
        ([[["a", None]]], "not_a_number", ""),
        ([[["a", "b"]]], "", "shape"),
        ([[["a", 0.1, 7]]], "", "shape"),
        ([[0.1, 0.2]], "", "shape"),
        ([[]], "", "shape"),
    ],
)
def test_what_is_wrong_with_a_result(results: Any, error: str, unread: str) -> None:
    answer = read({"results": results}, declared("kserve_v1"), TARGET)
    assert (answer.error, answer.unread) == (error, unread)


def test_an_error_of_the_server() -> None:
    assert read({"error": "x"}, declared("auto"), TARGET).error == "error_member"


def test_results_of_another_service_are_plain_json() -> None:
    assert values(read({"results": [0.5]}, declared("auto", score="results.0"), b"/search")) == [
        [("score", 0.5, "results.0")]
    ]
