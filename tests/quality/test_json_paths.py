"""Plain JSON: the values at the declared paths."""

from __future__ import annotations

from typing import Any

import pytest

from tests.quality.reading import declared, read, values


@pytest.mark.parametrize(
    ("value", "kind"),
    [(0.25, "score"), (0, "score"), (1, "score"), (1.5, "number"), (-3, "number"), (9e299, "number")],
)
def test_a_score_is_a_number(value: float, kind: str) -> None:
    assert values(read({"p": value}, declared(score="p"))) == [[(kind, value, "p")]]


@pytest.mark.parametrize("value", ["high", True, False, 3, 1.5, "x" * 256])
def test_a_label_is_a_text_a_number_or_yes_or_no(value: Any) -> None:
    assert values(read({"class": value}, declared(label="class"))) == [[("label", value, "class")]]


def test_a_long_label_is_a_text() -> None:
    assert values(read({"class": "x" * 257}, declared(label="class"))) == [[("text", "x" * 257, "class")]]


def test_both_paths_give_two_outputs_and_lead_into_objects_and_lists() -> None:
    document = {"out": [{"p": 0.5}], "class": {"name": "low"}}
    answer = read(document, declared(score="out.0.p", label="class.name"))
    assert values(answer) == [[("score", 0.5, "out.0.p"), ("label", "low", "class.name")]]
    assert (answer.document, answer.unread, answer.error) == (document, "", "")


def test_a_list_of_scores_is_a_vector() -> None:
    assert values(read({"p": [0.25, 0.75]}, declared(score="p"))) == [[("vector", (0.25, 0.75), "p")]]


def test_without_a_path_the_document_is_decoded_and_nothing_read() -> None:
    answer = read({"error": "not mine to judge"}, declared())
    assert (answer.rows, answer.unread, answer.error) == ((), "", "")
    assert answer.document == {"error": "not mine to judge"}


@pytest.mark.parametrize(
    ("body", "unread", "error"),
    [
        (b"{}", "missing", ""),
        (b"[]", "missing", ""),
        (b"7", "missing", ""),
        (b'{"p": "0.5"}', "type", ""),
        (b'{"p": true}', "type", ""),
        (b'{"p": {}}', "type", ""),
        (b'{"p": [0.5]}', "type", ""),
        (b'{"p": ["a", "b"]}', "type", ""),
        (b'{"p": null}', "", "not_a_number"),
        (b'{"p": NaN}', "", "not_a_number"),
        (b'{"p": -Infinity}', "", "not_a_number"),
        (b'{"p": 1e999}', "", "not_a_number"),
        (b'{"p": [0.5, NaN]}', "", "not_a_number"),
        (b'{"p": 1e301}', "range", ""),
        (b'{"p": 1' + b"0" * 301 + b"}", "range", ""),
        (b'{"p": 1' + b"0" * 5000 + b"}", "range", ""),
        (b"", "not_json", ""),
        (b"<html>", "not_json", ""),
        (b'{"p": 0.5} x', "not_json", ""),
        (b'\xef\xbb\xbf{"p": 0.5}', "not_json", ""),
        (b'{"p": 0.5, "q": "\xff"}', "utf8", ""),
        (b'{"p": NaN, "q": "\xff"}', "utf8", ""),
        (b'{"p": NaN, "q": "\\ud800"}', "utf8", ""),
        (b'{"p": NaN', "not_json", ""),
        (b"[" * 100_000, "depth", ""),
        (b"NaN" + b"[" * 100_000, "not_json", ""),
        (b"[" * 100_000 + b"NaN", "depth", ""),
        (b"[" * 65 + b"]" * 65, "depth", ""),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "depth", ""),
    ],
)
def test_what_is_not_read(body: bytes, unread: str, error: str) -> None:
    answer = read(body, declared(score="p"))
    assert (answer.rows, answer.unread, answer.error) == ((), unread, error)


@pytest.mark.parametrize("body", [b"[" * 64 + b"]" * 64, b"[" + b"[]," * 9999 + b"{}]"])
def test_many_brackets_are_not_deep(body: bytes) -> None:
    assert read(body, declared()).unread == ""


def test_nan_beside_the_score_is_no_error() -> None:
    assert values(read(b'{"p": 0.5, "q": NaN}', declared(score="p"))) == [[("score", 0.5, "p")]]


def test_the_last_of_two_equal_names_counts() -> None:
    assert values(read(b'{"p": 0.1, "p": 0.2}', declared(score="p"))) == [[("score", 0.2, "p")]]


def test_what_is_there_is_read_beside_what_is_missing() -> None:
    answer = read({"class": "low"}, declared(score="p", label="class"))
    assert (values(answer), answer.unread) == ([[("label", "low", "class")]], "missing")


@pytest.mark.parametrize("step", ["01", "1", "-1", "²", "0x", "9" * 30])
def test_an_index_is_a_short_number_inside_of_the_list(step: str) -> None:
    assert read([0.5], declared(score=step)).unread == "missing"
