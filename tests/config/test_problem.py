from __future__ import annotations

import pytest

from crossfade.config.problem import BadValue, ConfigError, Problem, listed, nearest, shown


def test_a_problem_has_the_form_of_a_compiler_message():
    problem = Problem("routing.yaml", 12, 9, "routes[0].sticky.heder", 'unknown key "heder"', "header")
    expected = 'routing.yaml:12:9: routes[0].sticky.heder: unknown key "heder"; did you mean "header"?'
    assert str(problem) == expected
    assert str(Problem("f", 1, 1, "", "the file is empty")) == "f:1:1: the file is empty"
    assert str(Problem("f", 1, 2, "a", "no", severity="warning")) == "f:1:2: warning: a: no"


def test_an_error_has_its_problems_in_file_order():
    late, early = Problem("f", 2, 1, "b", "no"), Problem("f", 1, 9, "a", "no")
    error = ConfigError((late, early))
    assert error.problems == (early, late)
    assert str(error) == "f:1:9: a: no\nf:2:1: b: no"


@pytest.mark.parametrize(
    ("word", "choices", "found"),
    [
        ("heder", ("header", "cookie"), "header"),
        ("Churn_V2", ("churn-v2", "other"), "churn-v2"),
        ("xyz", ("header", "cookie"), None),
        ("x" * 81, ("x" * 80,), None),
        ("heder", ("header", "y" * 81), "header"),
        ("heder", [f"header{n}" for n in range(2001)], None),
        ("a", (), None),
    ],
)
def test_nearest_finds_a_similar_choice(word: str, choices: list[str], found: str | None):
    assert nearest(word, choices) == found


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "empty"), ({}, "a mapping"), ([], "a list"), ("x", '"x"'), (5, "5"), ("a\nb\x1b", '"a?b?"'), ("y" * 99, '"' + "y" * 57 + '..."')],
)  # fmt: skip
def test_values_in_messages_are_short_and_on_one_line(value: object, text: str):
    assert shown(value) == text


def test_choices_in_messages_are_joined():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b or c"


def test_the_text_of_a_bad_value_is_its_message():
    assert str(BadValue("must be more")) == "must be more"
