"""One answer against its label."""

from __future__ import annotations

from math import log

import pytest

from crossfade.rollout.judged import number_of
from crossfade.rollout.ripe import Said

from .counting import check

ACCURACY = check("accuracy", min=0.9)
BRIER = check("brier", max=0.2)
LOG_LOSS = check("log_loss", max=0.5)
MAE = check("mae", max=3)
AUC = check("auc", min=0.7)


@pytest.mark.parametrize(
    ("question", "said", "label", "number"),
    [
        (ACCURACY, Said(0.7, True), 1, 1.0),
        (ACCURACY, Said(0.7, True), 0.5, 1.0),
        (ACCURACY, Said(0.7, True), 0.4, 0.0),
        (ACCURACY, Said(0.2, False), 0, 1.0),
        (ACCURACY, Said(0.2, False), "no", "no"),  # a text says neither yes nor no
        (ACCURACY, Said(None, "high"), "high", 1.0),
        (ACCURACY, Said(None, "high"), "low", 0.0),
        (ACCURACY, Said(None, 3), "3", 1.0),
        (ACCURACY, Said(None, "3"), 3.0, 1.0),
        (ACCURACY, Said(None, 1), 1.0, 1.0),  # true and false are stored as 1 and 0
        (ACCURACY, Said(None, 1), 0, 0.0),
        (ACCURACY, Said(0.4, None), 1, None),
        (ACCURACY, None, 1, None),
        (BRIER, Said(0.7, None), 1, pytest.approx(0.09)),
        (BRIER, Said(0.7, None), 0.5, pytest.approx(0.04)),
        (BRIER, Said(0.7, None), 2, "2"),
        (BRIER, Said(0.7, None), "yes", "yes"),
        (BRIER, Said(None, True), 1, None),
        (BRIER, None, 1, None),
        (LOG_LOSS, Said(0.7, None), 1, pytest.approx(-log(0.7))),
        (LOG_LOSS, Said(0.7, None), 0, pytest.approx(-log(0.3))),
        (LOG_LOSS, Said(0.0, None), 1, pytest.approx(-log(0.001))),
        (LOG_LOSS, Said(1.0, None), 0, pytest.approx(-log(0.001))),
        (LOG_LOSS, Said(7.0, None), 1, pytest.approx(-log(0.999))),
        (LOG_LOSS, Said(0.7, None), -1, "-1"),
        (MAE, Said(12.5, None), 10, 2.5),
        (MAE, Said(12.5, None), 20, 7.5),
        (MAE, Said(12.5, None), "ten", "ten"),
        (MAE, Said(None, None), 10, None),
        (AUC, Said(0.7, None), 1, 1),
        (AUC, Said(None, True), 1, None),
        (AUC, Said(0.7, None), 3, "3"),
    ],
)
def test_the_number_of_one_answer(question, said, label, number):
    assert number_of(question, said, label) == number


def test_no_log_loss_is_above_the_range_of_its_check():
    assert LOG_LOSS.range is not None
    for score in (0.0, 1e-9, 0.5, 1.0):
        for label in (0.0, 1.0):
            found = number_of(LOG_LOSS, Said(score, None), label)
            assert isinstance(found, float) and 0 <= found <= LOG_LOSS.range[1]
