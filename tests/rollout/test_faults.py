from __future__ import annotations

from math import inf, log

import pytest

from crossfade.rollout.faults import evidence_in_words, odds, tally, where


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        ({}, ""),
        ({"first_byte_timeout": 5, "500": 9}, "9 × HTTP 500, 5 × first-byte timeout"),
        ({"reset": 2, "stale_connection": 3}, "5 × connection closed"),
        (
            {str(500 + i): 9 - i for i in range(6)},
            "9 × HTTP 500, 8 × HTTP 501, 7 × HTTP 502, 6 × HTTP 503, 9 × other",
        ),
        ({"new_stage": 1}, "1 × new stage"),
    ],
)
def test_kinds_are_told_with_counts_the_most_frequent_first(kinds, text):
    assert tally(kinds) == text


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        (-0.673, "1 in 1"),
        (log(900), "1 in 900"),
        (log(211_000), "1 in 210 000"),
        (log(9.96e5), "1 in 1 000 000"),
        (50.0, "less than 1 in 1 000 000 000"),
        (inf, "less than 1 in 1 000 000 000"),
    ],
)
def test_evidence_is_told_as_odds(evidence, text):
    assert odds(evidence) == text


def test_evidence_and_bound_in_words():
    bound = log(1000)
    assert evidence_in_words(-0.673, bound) == "no evidence of it; a FAIL needs 1 in 1 000"
    assert evidence_in_words(log(40), bound) == "1 in 40 so far; a FAIL needs 1 in 1 000"
    assert evidence_in_words(log(2e5), bound) == "proven at 1 in 200 000; the limit is 1 in 1 000"


def test_the_part_of_a_rollout():
    assert [where(step, 2) for step in range(3)] == ["in step 1 of 2", "in step 2 of 2", "in the watch"]
