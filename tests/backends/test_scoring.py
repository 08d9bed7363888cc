"""Scores, risk levels and timestamps of the answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from crossfade_backends.data import as_request, draw_sample
from crossfade_backends.scoring import (
    Distortion,
    ServedModel,
    answer_alone,
    load_served_model,
    read_batch,
    read_row,
    risk_level,
)

UNCHANGED: Distortion = lambda scores: scores  # noqa: E731


@pytest.fixture(scope="module", params=["v2", "v3", "v4"])
def model(request, registry) -> ServedModel:
    return load_served_model(registry, "churn", request.param)


@pytest.mark.parametrize(
    ("probability", "level"),
    [(0, "low"), (0.2999, "low"), (0.3, "medium"), (0.5999, "medium"), (0.6, "high"), (1, "high")],
)
def test_the_risk_level_follows_from_the_probability(probability, level):
    assert risk_level(probability) == level


def test_a_row_gets_the_same_score_alone_and_in_a_batch(model):
    sample = draw_sample(300, 8)
    rows = [as_request(sample, index) for index in range(300)]
    batch = answer_alone(read_batch, json.dumps({"rows": rows}).encode(), model, UNCHANGED)
    expected = model.classifier.predict_proba(sample.features)[:, 1]
    assert batch["model_version"] == model.metadata.version
    for row, score, answer in zip(rows, expected, batch["predictions"], strict=True):
        single = answer_alone(read_row, json.dumps(row).encode(), model, UNCHANGED)
        assert single["churn_probability"] == score, "bit for bit"
        assert answer["churn_probability"] == score
        assert answer["customer_id"] == single["customer_id"] == row["customer_id"]
        assert answer["risk_level"] == single["risk_level"] == risk_level(score)


def test_every_risk_level_occurs(registry):
    model = load_served_model(registry, "churn", "v3")
    levels = [risk_level(score) for score in model.score(draw_sample(2_000, 6).features)]
    assert {level for level in levels if levels.count(level) > 60} == {"low", "medium", "high"}


def test_the_timestamp_is_the_current_time_in_utc(model):
    row = json.dumps(as_request(draw_sample(1, 1), 0)).encode()
    answer = answer_alone(read_row, row, model, UNCHANGED)
    at = datetime.fromisoformat(answer["prediction_timestamp"])
    assert at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)


def test_the_distortion_changes_probability_and_level(model):
    row = json.dumps(as_request(draw_sample(1, 1), 0)).encode()
    answer = answer_alone(read_row, row, model, lambda scores: np.full_like(scores, 0.61))
    assert (answer["churn_probability"], answer["risk_level"]) == (0.61, "high")
