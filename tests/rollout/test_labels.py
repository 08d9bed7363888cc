"""Checks of labels: by live traffic, by mirrored pairs, and what keeps both from a verdict."""

from __future__ import annotations

import random
from itertools import count

import pytest

from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.kpi_evidence import FIRST_UNITS
from crossfade.rollout.plan import Check
from crossfade.rollout.ripe import Ripe, Said
from crossfade.rollout.verdict import Verdict
from crossfade.stats.sequential import bound

from .counting import CONTEXT, check, evidence, ripened

PASS, FAIL, UNDECIDED, VOID = Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED, Verdict.VOID
UNITS = count(1)


def answers(rng: random.Random, n: int, noise: float, backend: str, version: int = 2) -> list[Ripe]:
    """Scores of a model that knows the chance of a yes up to `noise`; a quarter of the labels is yes."""
    out = []
    for _ in range(n):
        chance, said = scored(rng, noise)
        out.append(Ripe(0, version, backend, next(UNITS), False, {"label": int(rng.random() < chance)}, said))
    return out


def scored(rng: random.Random, *noise: float) -> tuple[float, Said]:
    chance = rng.betavariate(0.5, 1.5)
    return chance, _said(rng, chance, noise[0])


def _said(rng: random.Random, chance: float, noise: float) -> Said:
    score = min(max(chance + rng.gauss(0, noise), 0.0), 1.0)
    return Said(score, score >= 0.5)


def live(question: Check, n: int, noise: tuple[float, float], share: float = 0.5, seed: int = 1) -> Evidence:
    """`noise`: of the challenger's and the champion's scores. The first units fix a scale, both sides alike."""
    rng, made = random.Random(seed), evidence(share=share, checks=(question,))
    for count_, here, rest in ((FIRST_UNITS, noise[1], noise[1]), (n, *noise)):
        rows = answers(rng, round(count_ * share), here, "v3")
        rows += answers(rng, round(count_ * (1 - share)), rest, "v2")
        rng.shuffle(rows)
        ripened(made, rows, checks=(question,))
    return made


def mirrored(question: Check, n: int, noise: tuple[float, float], seed: int = 1, keys: int = 0) -> Evidence:
    rng, made = random.Random(seed), evidence(share=0.0, checks=(question,))
    rows = []
    for i in range(n):
        chance = rng.betavariate(0.5, 1.5)
        copy, said = (_said(rng, chance, each) for each in noise)
        label = int(rng.random() < chance)
        unit = i % keys if keys else next(UNITS)
        rows.append(Ripe(0, 2, "v2", unit, keys > 0, {"label": label}, said, {"v3": copy}))
    ripened(made, rows, checks=(question,))
    return made


ACCURACY = check("accuracy", min_increase=-0.05)
NO_LESS = check("accuracy", min=0.7)
BRIER = check("brier", max_increase=0.02)
LOSS = check("log_loss", max_increase=0.1)
AUC = check("auc", min_increase=-0.1)
AUC_MIN = check("auc", min=0.6)
MAE = check("mae", max_increase=0.05)
MAE_RANGE = check("mae", range=[0, 1], max_increase=0.05)
SAME, WORSE, MUCH = (0.05, 0.05), (0.4, 0.05), (3.0, 0.05)


@pytest.mark.parametrize(
    ("question", "n", "noise", "verdict"),
    [
        (ACCURACY, 8000, SAME, PASS),
        (ACCURACY, 200, SAME, UNDECIDED),
        (ACCURACY, 6000, MUCH, FAIL),
        (NO_LESS, 2000, SAME, PASS),
        (NO_LESS, 3000, MUCH, FAIL),
        (NO_LESS, 3000, (3.0, 3.0), VOID),  # a common cause
        (BRIER, 1000, SAME, PASS),
        (BRIER, 3000, MUCH, FAIL),
        (LOSS, 1000, SAME, PASS),
        (LOSS, 3000, MUCH, FAIL),
        (AUC, 20_000, SAME, PASS),
        (AUC, 300, SAME, UNDECIDED),
        (AUC, 12_000, MUCH, FAIL),
        (AUC_MIN, 3000, SAME, PASS),
        (AUC_MIN, 20_000, (9.0, 0.05), FAIL),
        (AUC_MIN, 20_000, (9.0, 9.0), VOID),
        (MAE, 1000, SAME, PASS),
        (MAE, 4000, MUCH, FAIL),
        (MAE_RANGE, 1000, SAME, PASS),
        (MAE_RANGE, 4000, MUCH, FAIL),
    ],
)
def test_live_traffic(question, n, noise, verdict):
    finding = evaluate_check(question, live(question, n, noise), CONTEXT)
    assert finding.verdict is verdict, finding
    assert finding.bound == pytest.approx(bound(CONTEXT.whole / 2))


@pytest.mark.parametrize(
    ("question", "n", "noise", "verdict"),
    [
        (ACCURACY, 1500, SAME, PASS),
        (ACCURACY, 90, SAME, UNDECIDED),
        (ACCURACY, 1500, MUCH, FAIL),
        (NO_LESS, 1000, SAME, PASS),
        (NO_LESS, 1500, MUCH, FAIL),
        (NO_LESS, 1500, (3.0, 3.0), VOID),
        (BRIER, 500, SAME, PASS),
        (BRIER, 99, SAME, UNDECIDED),
        (BRIER, 1500, MUCH, FAIL),
        (LOSS, 1000, SAME, PASS),
        (LOSS, 1500, MUCH, FAIL),
        (AUC, 3000, SAME, PASS),
        (AUC, 6000, MUCH, FAIL),
        (AUC_MIN, 2000, SAME, PASS),
        (MAE_RANGE, 500, SAME, PASS),
        (MAE_RANGE, 2000, MUCH, FAIL),
    ],
)
def test_mirrored_pairs(question, n, noise, verdict):
    """No client depended on the challenger."""
    assert not question.is_live
    finding = evaluate_check(question, mirrored(question, n, noise), CONTEXT)
    assert finding.verdict is verdict, finding


def test_pairs_need_fewer_labels_than_sides():
    """Both models on one request: its difficulty is taken out."""
    noise = (0.5, 0.05)
    paired = evaluate_check(BRIER, mirrored(BRIER, 800, noise), CONTEXT)
    sides = evaluate_check(BRIER, live(BRIER, 800, noise), CONTEXT)
    assert paired.evidence is not None and sides.evidence is not None
    assert paired.evidence > sides.evidence


def test_the_first_pair_of_a_customer_counts():
    finding = evaluate_check(ACCURACY, mirrored(ACCURACY, 3000, MUCH, keys=120), CONTEXT)
    assert finding.n == 120


@pytest.mark.parametrize("question", [ACCURACY, AUC, BRIER, NO_LESS])
def test_without_labels_a_check_is_undecided_and_without_a_champion_void(question):
    assert evaluate_check(question, evidence(share=0.0), CONTEXT).verdict is UNDECIDED
    assert evaluate_check(question, evidence(share=0.3), CONTEXT).verdict is UNDECIDED
    assert evaluate_check(question, evidence(share=1.0), CONTEXT).verdict is VOID


def test_an_absolute_error_without_a_range_waits_for_live_traffic():
    assert MAE.is_live
    assert not mirrored(MAE, 200, SAME).label_pairs


def test_a_step_with_live_traffic_is_judged_by_it():
    made = mirrored(ACCURACY, 1500, MUCH)
    made.open("r", 3, 1, 0.5)
    assert evaluate_check(ACCURACY, made, CONTEXT._replace(step=1)).verdict is UNDECIDED
    assert evaluate_check(ACCURACY, made, CONTEXT).verdict is FAIL


@pytest.mark.parametrize(
    ("question", "label", "reason"),
    [
        (ACCURACY, "yes", "label has the value yes in the feedback; accuracy needs a number beside an answer of yes or no"),
        (BRIER, 7, "label has the value 7 in the feedback; brier needs a label from 0 to 1"),
        (AUC, "x", "label has the value x in the feedback; auc needs a label from 0 to 1"),
        (MAE, "x", "label has the value x in the feedback; mae needs a number, of no more than 1e100"),
    ],
)  # fmt: skip
def test_a_label_that_is_of_no_use_is_void_and_named(question, label, reason):
    for share in (0.5, 0.0) if question.is_paired else (0.5,):
        made = evidence(share=share, checks=(question,))
        said = Said(0.7, True)
        row = Ripe(0, 2, "v2", 1, False, {"label": label}, said, {"v3": said})
        ripened(made, [row], checks=(question,))
        finding = evaluate_check(question, made, CONTEXT)
        assert (finding.verdict, finding.reason) == (VOID, reason)


def test_the_reasons_have_the_means_and_the_pairs():
    said = evaluate_check(ACCURACY, mirrored(ACCURACY, 1500, MUCH), CONTEXT).reason
    assert said.startswith("accuracy is 0.5")
    assert " over 1500 labelled mirrored pairs against the champion's 0.7" in said
    assert "; the limit is at least -0.05; only the challenger was right in " in said
    said = evaluate_check(AUC, live(AUC, 3000, SAME), CONTEXT).reason
    assert "groups of ranked answers against the champion's 0.8" in said
    named = check("accuracy", name="churned", min_increase=0)
    assert named.title == "accuracy of churned >= champion + 0"
    assert (BRIER.title, ACCURACY.title) == ("brier <= champion + 0.02", "accuracy >= champion + -0.05")
    assert MAE_RANGE.title == "mae (0 to 1) <= champion + 0.05"


def test_an_answer_of_another_backend_is_judged_for_nobody():
    rows = answers(random.Random(1), 300, 0.05, "v2") + answers(random.Random(1), 300, 0.05, "v3")
    made = evidence(share=0.5, checks=(ACCURACY,))
    ripened(made, [row._replace(said=None) for row in rows], checks=(ACCURACY,))
    assert ACCURACY.title not in made.kpis
    assert made.coverage[ACCURACY.title].here.n == 300


def test_labels_of_one_side_are_void_with_the_figures():
    rng, made = random.Random(1), evidence(share=0.25, checks=(ACCURACY,))
    for backend, n, missing in (("v3", 1000, 0.1), ("v2", 3000, 0.02)):
        rows = [
            row if rng.random() > missing else row._replace(feedback={})
            for row in answers(rng, n, 0.05, backend)
        ]
        ripened(made, rows, checks=(ACCURACY,))
    finding = evaluate_check(ACCURACY, made, CONTEXT)
    assert finding.verdict is VOID
    assert (
        "of the challenger's 1000 ripe predictions have a label and an answer to judge, and 9"
        in finding.reason
    )
    assert "of the champion's 3000: the sides are not comparable" in finding.reason


def test_feedback_of_one_side_is_void_unless_missing_says_what_it_means():
    for missing, verdict in ((None, VOID), (0, FAIL)):
        keys = {} if missing is None else {"missing": missing}
        question = check("kpi", name="bought", kind="event", min_increase=0, **keys)
        made = evidence(share=0.5, checks=(question,))
        for backend, n, x in (("v3", 2000, 200), ("v2", 2000, 500)):
            rows = [Ripe(0, 2, backend, next(UNITS), False, {"bought": 1} if i < x else {}) for i in range(n)]
            ripened(made, rows, checks=(question,))
        assert evaluate_check(question, made, CONTEXT).verdict is verdict


@pytest.mark.parametrize("kept", [0.95, 0.5, 0.05])
def test_the_same_coverage_of_both_sides_is_no_fault(kept):
    for seed in range(20):
        rng, made = random.Random(seed), evidence(share=0.25, checks=(ACCURACY,))
        for backend, n in (("v3", 500), ("v2", 1500)):
            rows = [
                row if rng.random() < kept else row._replace(feedback={})
                for row in answers(rng, n, 0.05, backend)
            ]
            ripened(made, rows, checks=(ACCURACY,))
        assert evaluate_check(ACCURACY, made, CONTEXT).verdict is not VOID
