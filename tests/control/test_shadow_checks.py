"""A shadow leaves its step by the checks of its pairs: distance, segments, latency and failures of the copies."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from crossfade.control.replay import journal, replayed
from crossfade.quality.answer import Answer, Output
from crossfade.quality.compared import Compared
from crossfade.quality.comparing import Facts, compare, pair_of
from crossfade.quality.prediction import Prediction

from .harness import NOW, Harness

CHECKS = """
        - {metric: disagreement, max: 5%}
        - {metric: distance, max: 0.05}
        - {metric: segment_divergence, max: 5%}
        - {metric: shadow_latency, quantile: p90, max_ratio: 1.25}
        - {metric: shadow_errors, max: 5%}"""
SHADOW = f"""
routes:
  - name: churn
    match: {{path: /predict}}
    split: {{v2: 100%}}
    prediction: {{score: p, decision: 0.5, segment: [{{json: country}}]}}
    mirror: {{to: v3, sample: 0%, noise: 50%, safe: true}}
    rollout:
      strategy: shadow
      champion: v2
      challenger: v3
      steps: [{{mirror: 100%, hold: 5s}}, {{weight: 20%, hold: 5s}}]
      min_requests: 100
      checks:{CHECKS}
"""
PREDICTION = Prediction(score=("p",), decision=0.5)
CHANCE = 0.5


class Models:
    """Scores of both models; each request has a country."""

    def __init__(
        self, score: Callable[[float, str], float], seconds: float = 0.1, jitter: float = 0.02
    ) -> None:
        self.rng = random.Random(5)
        self.score, self.seconds, self.jitter = score, seconds, jitter
        self.requests = 0

    def answer(self, score: float) -> Answer:
        moved = min(max(score + self.rng.uniform(-self.jitter, self.jitter), 0.0), 1.0)
        return Answer(((Output("score", moved, "p"),),))

    def compared(self, now: float) -> Compared:
        self.requests += 1
        score, country = self.rng.random(), self.rng.choice(("de", "fr", "nl", "pt"))
        twice = self.rng.random() < CHANCE
        seconds, again = (mean * self.rng.lognormvariate(0, 0.3) for mean in (self.seconds, 0.1))
        facts = Facts(
            f"r-{self.requests}",
            now,
            self.rng.getrandbits(60) if self.requests % 2 else None,
            copy_seconds=seconds,
            second_seconds=again if twice else None,
            segments=(country,),
        )
        second = self.answer(score) if twice else None
        found = compare(
            PREDICTION, facts, self.answer(score), self.answer(self.score(score, country)), second
        )
        assert isinstance(found, Compared)
        return found


async def shadowed(harness: Harness, models: Models, ticks: int, n: int = 100, errors: int = 0) -> None:
    for _ in range(ticks):
        harness.add_counts("v3", n, errors, "shadow")
        cell = harness.seam.counts.cells[-1]
        for _ in range(n):
            pair = pair_of(models.compared(harness.now), CHANCE, ("country",))
            if pair.key is None:
                cell.pairs.add(*pair[1:])
            else:
                cell.keyed_pairs.append(pair)
        await harness.tick(200)
        if harness.rollout.phase != "progressing" or harness.rollout.step:
            return


def same(score: float, country: str) -> float:
    return score


def wrong_for_one(score: float, country: str) -> float:
    return 1 - score if country == "pt" else score


def shifted(score: float, country: str) -> float:
    """Every score is moved within its side of the threshold, so no decision changes."""
    return score * 0.6 if score < 0.48 else score if score < 0.52 else 0.52 + (score - 0.52) * 0.4


async def begun() -> Harness:
    harness = Harness()
    await harness.load(SHADOW)
    await harness.tick()
    assert len(harness.rollout.verdicts) == 5
    return harness


async def test_a_good_shadow_goes_on_to_live_traffic_by_itself():
    harness = await begun()
    await shadowed(harness, Models(same), 40)
    assert (harness.rollout.step, harness.weights) == (1, {"v2": 8000, "v3": 2000})
    await harness.run(12)
    assert (harness.rollout.phase, harness.weights) == ("promoted", {"v3": 10_000})
    assert replayed(journal(harness.store)).differences == []


@pytest.mark.parametrize(
    ("models", "errors", "reason"),
    [
        (Models(wrong_for_one), 0, "segment_divergence <= 5%: decisions change in country = pt ("),
        (Models(shifted), 0, "distance <= 0.05: the answers of "),
        (Models(same, seconds=0.2), 0, "p90 shadow_latency <= 1.25 x champion: p90 shadow_latency is "),
        (Models(same), 20, "shadow_errors <= 5%: "),
    ],
    ids=["segment", "distance", "latency", "errors"],
)
async def test_a_bad_shadow_is_aborted_before_it_gets_live_traffic(models, errors, reason):
    harness = await begun()
    await shadowed(harness, models, 120, errors=errors)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    assert (await harness.decisions())[-1].reason.count(reason) == 1
    assert replayed(journal(harness.store)).differences == []


async def test_without_second_answers_a_shadow_waits():
    harness = await begun()
    models = Models(same)
    harness.add_counts("v3", 400, 0, "shadow")
    cell = harness.seam.counts.cells[-1]
    for _ in range(400):
        cell.pairs.add(*pair_of(models.compared(NOW), 0.0, ("country",))._replace(noise=None)[1:])
    await harness.tick(200)
    await harness.run(20, 0)
    assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 0)
