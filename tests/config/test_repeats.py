"""Of the problems of a file, each is reported once, in file order, and none that another has caused."""

from __future__ import annotations

from collections.abc import Iterable

from crossfade.config.document import Document, Mark, Node
from crossfade.config.load import without_repeats
from crossfade.config.problem import Problem, Severity


def problem(line: int, severity: Severity = "error", message: str = "wrong") -> Problem:
    return Problem("f.yaml", line, 1, "", message, severity=severity)


def reported(*problems: Problem, broken: Iterable[int] = (), first: Iterable[Problem] = ()) -> list[Problem]:
    marks = frozenset(Mark(line, 1) for line in broken)
    document = Document("f.yaml", Node(Mark(1, 1), None), tuple(first), marks)
    return list(without_repeats([*first, *problems], document))


def test_problems_are_reported_in_file_order():
    late, early, later = problem(7), problem(2, "warning"), problem(8)
    assert reported(late, early, later) == [early, late, later]


def test_equal_problems_are_reported_once():
    assert reported(problem(2), problem(2)) == [problem(2)]


def test_two_different_errors_at_one_place_are_both_reported():
    both = [problem(2), problem(2, message="and that as well")]
    assert reported(*both) == both


def test_a_warning_at_the_place_of_an_error_is_left_out():
    kept = problem(3, "warning")
    assert reported(problem(2, "warning"), problem(2), kept) == [problem(2), kept]


def test_no_other_problem_is_reported_of_a_value_that_cannot_be_read():
    """Warnings are left out too, since the unread value is an error at that place."""
    unread = problem(2, message="the environment variable X is not set")
    found = reported(problem(2), problem(2, "warning"), problem(3), broken=[2], first=[unread])
    assert found == [unread, problem(3)]
