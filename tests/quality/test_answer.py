"""The score and the decision of one row."""

import pytest

from crossfade.quality.answer import Decision, Output, Row, decision_of, score_of

SCORE, LABEL = Output("score", 0.7), Output("label", "high")
VECTOR, THREE = Output("vector", (0.2, 0.8)), Output("vector", (0.2, 0.7, 0.1))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((LABEL, SCORE), 0.7),
        ((Output("number", 12),), 12.0),
        ((VECTOR,), 0.8),
        ((VECTOR, SCORE), 0.7),
        ((THREE,), None),
        ((LABEL,), None),
        ((), None),
    ],
)
def test_the_score_is_the_first_score_or_the_second_of_two_shares(row: Row, expected: float | None) -> None:
    assert score_of(row) == expected


@pytest.mark.parametrize(
    ("row", "threshold", "expected"),
    [
        ((LABEL, SCORE), 0.7, True),
        ((LABEL, SCORE), 0.71, False),
        ((LABEL,), 0.5, None),
        ((SCORE, LABEL), None, "high"),
        ((VECTOR, LABEL), None, "high"),
        ((THREE,), None, 1),
        ((SCORE,), None, None),
        ((), None, None),
    ],
)
def test_the_decision_is_by_threshold_else_the_label_else_the_largest_share(
    row: Row, threshold: float | None, expected: Decision | None
) -> None:
    assert decision_of(row, threshold) == expected
