"""Answers lost on one side oftener than on the other make a comparison VOID; equal losses do not."""

from __future__ import annotations

import pytest

from crossfade.rollout.lost_answers import lost_pairs, lost_scores
from crossfade.rollout.strata import Stratum
from crossfade.stats.counts import Cell
from crossfade.stats.pairs import Pairs


def stratum(ours: tuple[int, int], theirs: tuple[int, int], share: float = 0.5) -> Stratum:
    champion = Cell("r", "v2", "", 1, scoreless=theirs[0], answers=theirs[1])
    challenger = Cell("r", "v3", "", 1, scoreless=ours[0], answers=ours[1])
    return Stratum(1, 0, share, champion, challenger)


@pytest.mark.parametrize(
    ("ours", "theirs", "share", "is_void"),
    [
        ((300, 1000), (0, 1000), 0.5, True),
        ((0, 1000), (300, 1000), 0.5, True),
        ((30, 100), (0, 1900), 0.05, True),
        ((300, 1000), (300, 1000), 0.5, False),
        ((5, 1000), (0, 1000), 0.5, False),
        ((0, 0), (0, 0), 0.5, False),
        ((2, 2), (0, 2), 0.5, False),
    ],
)
def test_unequal_losses_of_scores(ours, theirs, share, is_void):
    assert bool(lost_scores([stratum(ours, theirs, share)])) is is_void


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        (Pairs(n=700, lost=300), "300 of 1000 pairs lost the challenger's answer, and 0 the champion's"),
        (Pairs(lost=40), "40 of 40 pairs lost the challenger's answer, and 0 the champion's"),
        (
            Pairs(n=700, champion_lost=300),
            "0 of 1000 pairs lost the challenger's answer, and 300 the champion's",
        ),
        (Pairs(n=400, lost=300, champion_lost=300), ""),
        (Pairs(n=10_000, lost=50), ""),
        (Pairs(n=10, lost=4), ""),
        (Pairs(), ""),
    ],
)
def test_unequal_losses_of_pairs(pairs, text):
    found = lost_pairs(pairs)
    assert found.startswith(text) if text else not found
