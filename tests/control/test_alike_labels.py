"""Twenty experiments with two equal models and a look each second: none is significant."""

from __future__ import annotations

import random

import pytest

from crossfade.rollout.ripe import Ripe, Said

from .harness import Harness
from .test_predictions import canary_with

CHECKS = (
    "metric: accuracy, min_increase: 0}\n        - {metric: kpi, name: bought, kind: event, missing: 0, min_increase: 0}\n"
    "        - {metric: auc, min_increase: 0}\n        - {metric: kpi, name: paid, min_increase: 0"
)
ANSWERS = "prediction: {score: s, decision: 0.5}"


@pytest.mark.parametrize("seed", range(20))
async def test_no_look_at_two_equal_models_is_significant(seed):
    """No check FAILs, and none proves a gain, at α = 1 % for all of them."""
    harness, rng = Harness(), random.Random(seed)
    await harness.load(canary_with(CHECKS).replace("fallback: v2", ANSWERS))
    for _ in range(40):
        rows = []
        for _ in range(100 if harness.weights.get("v3") else 0):
            backend = "v3" if rng.random() < harness.weights["v3"] / 10_000 else "v2"
            chance = rng.random() ** 2
            score = min(max(chance + rng.gauss(0, 0.2), 0.0), 1.0)
            feedback: dict[str, float | str] = {"label": int(rng.random() < chance)}
            if rng.random() < 0.1:
                feedback |= {"bought": 1, "paid": rng.lognormvariate(2, 1)}
            said = Said(score, score >= 0.5)
            version, unit = harness.route.ledger.version, rng.getrandbits(64)
            rows.append(Ripe(0, version, backend, unit, False, feedback, said))
        harness.feed("churn", rows)
        await harness.tick(100)
        found = {verdict.check: verdict.verdict for verdict in harness.rollout.verdicts}
        assert not {"FAIL", "PASS"} & set(found.values()), harness.rollout.verdicts
    assert harness.rollout.verdicts[0].n > 500
