"""Worlds of feedback: how often a check of KPIs or labels FAILs where the challenger keeps its limit, and how soon where it does not.

Rule: in an ALIKE world the challenger is at its limit to the last digit, so that a test has nothing to spare. All randomness
comes from the given generator. Predictions are fed as the prediction log gives them, after each LOOK of them; a check is evaluated then, with all of α for
itself, by the proxy's own code. Weights ramp 5 → 25 → 50 %, and what customers do drifts meanwhile, alike on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crossfade.config.model import CheckConfig
from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.feeding import feed
from crossfade.rollout.plan import Check
from crossfade.rollout.ripe import Portion, Ripe, Said
from crossfade.rollout.strategy import check_of
from crossfade.rollout.verdict import Verdict
from crossfade.rollout.verdict_rule import CheckContext
from loadtests.rollouts import CHALLENGER, CHAMPION, Result
from loadtests.traffic import Bools, Floats

RAMP = (0.05, 0.25, 0.5)
LOOK = 200  # predictions
A_SECOND = 20  # predictions
UNITS = 4000  # predictions of each step
ALPHA = 0.01
HORIZON = 1.0  # days


@dataclass(frozen=True)
class LabelWorld:
    """`numbers`: what the feedback is: `revenue` (few buy, lognormal), `rare` (2 % × 50), `bought` (0 or 1), or `label` beside scores.

    `gain`: factor of the challenger's numbers. `noise`: standard deviation of the scores' error, of the challenger and the champion.
    `customers`: 0 without keys; `heavy`: some customers have most of the predictions. `delay`: days until a label comes, on average (of
    the challenger's, of the champion's; twice as long for a yes); what comes behind the HORIZON is missing. `lost`: shares of the labels no and yes that
    never come. `mirrored`: both models answer each request, and no client meets the challenger.
    """

    name: str
    check: Check
    numbers: str = "label"
    gain: float = 1.0
    noise: tuple[float, float] = (0.2, 0.2)
    customers: int = 0
    heavy: bool = False
    delay: tuple[float, float] = (0.0, 0.0)
    lost: tuple[float, float] = (0.0, 0.0)
    mirrored: bool = False
    units: int = UNITS
    runs: float = 1.0


def check(metric: str, **keys: Any) -> Check:
    return check_of(CheckConfig.model_validate({"metric": metric, **keys}))


class Customers:
    """Who asks, what kind of customer it is, and on which side it is."""

    def __init__(self, world: LabelWorld, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        n = world.customers
        self.places, self.usual = rng.random(n), rng.beta(0.5, 1.5, n)
        self.units = rng.integers(0, 2**63, n) * 2 + 1
        frequent = rng.pareto(1.2, n) + 0.01 if world.heavy else np.ones(n)
        self.frequent = frequent / frequent.sum() if n else frequent

    def ask(self, n: int, share: float) -> tuple[list[int], Bools, Floats]:
        """(units, who is the challenger's, what each usually does: 0 to 1)."""
        if not self.world.customers:
            units: list[int] = self.rng.integers(0, 2**63, n).tolist()
            return units, self.rng.random(n) < share, self.rng.beta(0.5, 1.5, n)
        who = self.rng.choice(self.world.customers, n, p=self.frequent)
        return self.units[who].tolist(), self.places[who] < share, self.usual[who]


class Predictions:
    """Those of one run, in the order of their ripening."""

    def __init__(self, world: LabelWorld, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        self.customers = Customers(world, rng)

    def draw(self, version: int, share: float, drift: float) -> Iterator[Ripe]:
        """`drift`: how far the run has come, 0 to 1; customers do up to twice as much by then."""
        world, rng = self.world, self.rng
        units, here, usual = self.customers.ask(LOOK, share)
        chance = np.clip(usual * (1 + drift), 0, 1)
        label = rng.random(LOOK) < chance
        values = self.values(label, here, chance)
        known = self.known(label, here)
        ours, theirs = (np.clip(chance + rng.normal(0, noise, LOOK), 0, 1) for noise in world.noise)
        for i in range(LOOK):
            feedback = {"label": float(values[i])} if known[i] else {}
            said = [Said(float(scores[i]), bool(scores[i] >= 0.5)) for scores in (ours, theirs)]
            side = CHALLENGER if here[i] else CHAMPION
            copies = {CHALLENGER: said[0]} if world.mirrored else {}
            keyed = world.customers > 0
            yield Ripe(0, version, side, units[i], keyed, feedback, said[0] if here[i] else said[1], copies)

    def values(self, label: Bools, here: Bools, chance: Floats) -> Floats:
        rng, gain = self.rng, np.where(here, self.world.gain, 1.0)
        found: Floats = np.where(label, 1.0, 0.0)
        if self.world.numbers == "bought":
            found = np.where(rng.random(LOOK) < chance * gain / 4, 1.0, 0.0)
        if self.world.numbers == "rare":
            found = np.where(rng.random(LOOK) < 0.08 * chance * gain, 50.0, 0.0)
        if self.world.numbers == "revenue":
            spent = np.exp(1.5 * rng.standard_normal(LOOK)) * gain
            found = np.where(rng.random(LOOK) < chance / 4, spent, 0.0)
        return found

    def known(self, label: Bools, here: Bools) -> Bools:
        """Whose feedback has come when the prediction is ripe."""
        world, rng = self.world, self.rng
        days = rng.exponential(1.0, LOOK) * np.where(here, *world.delay) * np.where(label, 2.0, 1.0)
        lost = rng.random(LOOK) < np.where(label, world.lost[1], world.lost[0])
        known: Bools = (days <= HORIZON) & ~lost
        return known


def run(world: LabelWorld, rng: np.random.Generator, alpha: float = ALPHA) -> Result:
    """`end`: aborted (a FAIL), promoted (a PASS at the end) or waiting. `requests`: predictions until then.

    `checks` has "coverage" where the sides were ever found not to be comparable.
    """
    evidence = Evidence(CHAMPION, CHALLENGER)
    whole = 2 * alpha if world.check.is_paired else alpha  # which has half of it for each kind of evidence
    drawn = Predictions(world, rng)
    n, found, checks = 0, (Verdict.UNDECIDED, ""), set[str]()
    shares = (0.0,) if world.mirrored else RAMP
    total = world.units * len(shares)
    for step, share in enumerate(shares):
        evidence.open("r", step + 1, step, share)
        context = CheckContext(step, 100, whole, whole)
        while n < world.units * (step + 1) and found[0] is not Verdict.FAIL:
            rows = [
                row._replace(seq=n + i) for i, row in enumerate(drawn.draw(step + 1, share, n / total), 1)
            ]
            feed(evidence, Portion(n, n + LOOK, rows), (world.check,))
            n += LOOK
            finding = evaluate_check(world.check, evidence, context)
            found = finding.verdict, finding.reason
            if "the sides are not comparable" in finding.reason:
                checks.add("coverage")
    verdict, reason = found
    end = {Verdict.FAIL: "aborted", Verdict.PASS: "promoted"}.get(verdict, "waiting")
    if verdict is Verdict.FAIL:
        checks.add(world.check.title)
    return Result(end, n / A_SECOND, n, 0, tuple(sorted(checks)), reason, 0.0, 0)


GAIN, COST = check("kpi", name="label", min_increase=0), check("kpi", name="label", max_increase=0)
IN_RANGE = check("kpi", name="label", range=[0, 20], min_increase=0)
BOUGHT = check("kpi", name="label", kind="event", missing=0, min_increase=0)
ACCURACY = check("accuracy", min_increase=0)
BRIER, LOG_LOSS = check("brier", max_increase=0), check("log_loss", max_increase=0)
AUC = check("auc", min_increase=0)
MAE = check("mae", max_increase=0)

LABELS_ALIKE = (
    LabelWorld("feedback: revenue, lognormal", GAIN, "revenue"),
    LabelWorld("feedback: revenue, lognormal, `max_increase`", COST, "revenue"),
    LabelWorld("feedback: revenue of 2 % × 50", GAIN, "rare"),
    LabelWorld("feedback: revenue, with a range", IN_RANGE, "revenue"),
    LabelWorld("feedback: revenue of 800 customers, 15 numbers each", GAIN, "revenue", customers=800),
    LabelWorld("feedback: revenue of customers, some with most of it", GAIN, "revenue", customers=800, heavy=True),
    LabelWorld("feedback: bought or not, 800 customers, missing: 0", BOUGHT, "bought", customers=800),
    LabelWorld("feedback: accuracy", ACCURACY),
    LabelWorld("feedback: accuracy, 800 customers, some with most", ACCURACY, customers=800, heavy=True),
    LabelWorld("feedback: accuracy, labels after a day on average, horizon one day", ACCURACY, delay=(1.0, 1.0)),
    LabelWorld("feedback: accuracy, 60 % of yes and 20 % of no without a label", ACCURACY, lost=(0.2, 0.6)),
    LabelWorld("feedback: Brier score, 800 customers", BRIER, customers=800),
    LabelWorld("feedback: log loss", LOG_LOSS),
    LabelWorld("feedback: absolute error", MAE),
    LabelWorld("feedback: AUC", AUC),
    LabelWorld("feedback: AUC, labels after a day on average", AUC, delay=(1.0, 1.0)),
    LabelWorld("feedback: accuracy of mirrored pairs", ACCURACY, mirrored=True),
    LabelWorld("feedback: Brier score of mirrored pairs, 800 customers", BRIER, mirrored=True, customers=800),
    LabelWorld("feedback: AUC of mirrored pairs", AUC, mirrored=True),
)  # fmt: skip
WORSE = (0.6, 0.2)
_UNLIKE = (
    LabelWorld("feedback: revenue halved", GAIN, "revenue", 0.5),
    LabelWorld("feedback: bought or not, a third less", BOUGHT, "bought", 0.67),
    LabelWorld("feedback: scores with three times the error: accuracy", ACCURACY, noise=WORSE),
    LabelWorld("feedback: the same: Brier score", BRIER, noise=WORSE),
    LabelWorld("feedback: the same: AUC", AUC, noise=WORSE),
    LabelWorld("feedback: the same, of mirrored pairs: accuracy", ACCURACY, noise=WORSE, mirrored=True),
    LabelWorld("feedback: the same, of mirrored pairs: Brier score", BRIER, noise=WORSE, mirrored=True),
)
LABELS_UNLIKE = tuple(replace(world, units=2 * UNITS, runs=0.25) for world in _UNLIKE)
LABEL_WORLDS: dict[str, LabelWorld] = {world.name: world for world in (*LABELS_ALIKE, *LABELS_UNLIKE)}
