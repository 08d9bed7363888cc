"""Checks of scores and of changed decisions, against tables of counts."""

from __future__ import annotations

import random

import pytest

from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import MIN_FOR_QUANTILE, Evidence, gather
from crossfade.rollout.verdict import Verdict
from crossfade.stats.counts import Cell
from crossfade.stats.pairs import Pairs

from .counting import CONTEXT, cell, check, evidence

PASS, FAIL, UNDECIDED, VOID = Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED, Verdict.VOID
DISTANCE = check("score_divergence", max=0.1)
BAND = check("score_divergence", max_ratio=1.5)
CHANGED = check("disagreement", max="5%")


def scoring(backend: str, n: int, power: float, rng: random.Random, role: str = "challenger") -> Cell:
    made = cell(backend, n, times=(), role=role)
    for _ in range(n):
        made.scores.add(rng.random() ** power)
    return made


def scored(power: float, n: int = 400, ticks: int = 5) -> Evidence:
    """The champion's scores are uniform, the challenger's are uniform to a power; its share is a tenth."""
    rng = random.Random(5)
    made = evidence(scoring("v2", MIN_FOR_QUANTILE, 1.0, rng))
    for _ in range(ticks):
        gather(made, [scoring("v3", n // ticks, power, rng), scoring("v2", 9 * n // ticks, 1.0, rng)], ())
    return made


@pytest.mark.parametrize("question", [DISTANCE, BAND])
@pytest.mark.parametrize(
    ("power", "n", "verdict"),
    [(1.0, 2000, PASS), (0.9, 2000, PASS), (1.0, 50, UNDECIDED), (0.4, 1000, FAIL), (2.5, 1000, FAIL)],
)
def test_distances_of_score_distributions(question, power, n, verdict):
    finding = evaluate_check(question, scored(power, n), CONTEXT)
    assert finding.verdict is verdict
    assert finding.n == n


def test_a_distance_that_is_not_significant_is_undecided_and_has_an_eta():
    finding = evaluate_check(DISTANCE, scored(0.6, 200), CONTEXT)
    assert finding.verdict is UNDECIDED
    assert finding.eta_requests
    assert finding.interval is not None
    assert finding.estimate is not None
    assert finding.interval[0] < finding.estimate < finding.interval[1]


def test_the_reason_of_a_score_check():
    reason = evaluate_check(DISTANCE, scored(0.85, 2000), CONTEXT).reason
    assert reason.startswith("Kolmogorov-Smirnov distance 0.0")
    assert " between 2000 scores and the champion's 18000; the limit is 0.1; PSI 0." in reason
    assert reason.endswith(", the distributions differ significantly")
    assert evaluate_check(DISTANCE, scored(1.0, 2000), CONTEXT).reason.count("significantly") == 0
    assert evaluate_check(BAND, scored(2.5, 1000), CONTEXT).reason.startswith(
        "of 1000 scores, the share of bin 1 of 10 differs from the champion's by a factor of "
    )


@pytest.mark.parametrize("question", [DISTANCE, BAND])
def test_without_500_scores_of_the_champion_a_score_check_is_undecided(question):
    rng = random.Random(1)
    made = evidence(scoring("v2", 80, 1.0, rng), scoring("v3", 400, 3.0, rng))
    finding = evaluate_check(question, made, CONTEXT)
    assert (finding.verdict, finding.reason) == (
        UNDECIDED,
        "nothing to compare yet: the champion has 80 of 500 scores that are needed",
    )
    assert evaluate_check(question, evidence(share=1.0), CONTEXT).verdict is VOID


def test_scores_that_fixed_the_bins_are_not_counted_in_them():
    made = scored(1.0, 100, ticks=1)
    (stratum,) = made.strata
    assert stratum.bins is not None
    assert (sum(stratum.bins.here), sum(stratum.bins.rest)) == (100, 900)
    assert stratum.champion.scores.count == 0  # only bins are kept
    assert made.predicted.count == MIN_FOR_QUANTILE  # later scores do not change the bins


def test_equal_scores_are_cut_below_and_above_their_bucket():
    made = evidence(cell("v2", MIN_FOR_QUANTILE, times=()))
    one = cell("v2", 10, times=())
    for _ in range(MIN_FOR_QUANTILE):
        one.scores.add(0.5)
    gather(made, [one], ())
    assert made.levels is not None
    assert made.levels.cuts == (99, 100)
    waiting = evaluate_check(DISTANCE, made, CONTEXT)
    assert (waiting.verdict, waiting.reason) == (
        UNDECIDED,
        "the bins are fixed by 500 scores of the champion; scores from now on are compared",
    )


def paired(share: float = 0.0, **counts: float) -> Evidence:
    mirrored = cell("v3", 100, times=(), role="shadow")
    mirrored.pairs = Pairs(**counts)  # type: ignore[arg-type]
    return evidence(mirrored, share=share)


@pytest.mark.parametrize("share", [0.0, 0.1])
@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ({}, UNDECIDED),
        ({"n": 99}, UNDECIDED),
        ({"n": 200, "changed": 8}, PASS),
        ({"n": 9000, "changed": 900}, UNDECIDED),  # the champion's noise is not measured
        ({"n": 9000, "changed": 1800, "chances": 450.0, "twice": 450}, FAIL),
        ({"n": 9000, "changed": 1800, "chances": 450.0, "twice": 450, "noise": 90, "both": 18}, PASS),
        ({"n": 200, "changed": 14, "chances": 10.0, "twice": 10}, UNDECIDED),
    ],
)
def test_disagreement(counts, verdict, share):
    """Pairs of mirrored copies count with and without live traffic of the challenger."""
    assert evaluate_check(CHANGED, paired(share, **counts), CONTEXT).verdict is verdict


def test_without_mirroring_in_a_step_the_pairs_of_the_step_before_count():
    made = paired(n=200, changed=8)
    made.open("r", 3, 1, 0.1)
    gather(made, [cell("v3", 50, version=3), cell("v2", 450, version=3)], ())
    finding = evaluate_check(CHANGED, made, CONTEXT._replace(step=1))
    assert (finding.verdict, finding.n) == (PASS, 200)
    made.open("r", 4, 2, 0.5)
    mirrored = cell("v3", 10, times=(), role="shadow", version=4)
    mirrored.pairs = Pairs(n=10, changed=9)
    gather(made, [mirrored], ())
    assert evaluate_check(CHANGED, made, CONTEXT._replace(step=2)).n == 10


def test_the_reason_of_a_disagreement_check():
    up = {"n": 9000, "changed": 900, "raised": 880, "lowered": 20}
    assert evaluate_check(CHANGED, paired(**up), CONTEXT).reason.startswith(
        "10% of 9000 decisions changed, mostly to yes (the champion's own noise is not measured"
    )
    noisy = paired(**up | {"raised": 450, "lowered": 450, "chances": 900.0, "twice": 900, "noise": 45})
    assert evaluate_check(CHANGED, noisy, CONTEXT).reason == (
        "10% of 9000 decisions changed, 5% of 900 when the champion was asked twice; allowed is 5% more"
    )
    down = evaluate_check(CHANGED, paired(n=900, changed=60, raised=1, lowered=59), CONTEXT).reason
    assert "mostly to no" in down
    assert (
        "mostly" not in evaluate_check(CHANGED, paired(n=900, changed=60), CONTEXT).reason
    )  # labels have no direction
