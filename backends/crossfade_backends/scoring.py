"""Loads a model and scores rows: churn probabilities and risk levels.

Risk levels: low below 0.3, medium from 0.3, high from 0.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from crossfade_backends.data import FEATURES, FloatArray
from crossfade_backends.registry import (
    METADATA_FILE,
    Metadata,
    RegistryError,
    Scorer,
    load_model,
    read_metadata,
    version_directory,
)
from crossfade_backends.rows import Batch, CustomerRow, as_matrix, parse_body

_MEDIUM_RISK = 0.3
_HIGH_RISK = 0.6

# The function with which a fault changes the scores; without a fault it is the identity.
Distortion = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class ServedModel:
    metadata: Metadata
    classifier: Scorer

    def score(self, matrix: FloatArray) -> FloatArray:
        """(n, 5) in the order of FEATURES to (n,) probabilities of churn.

        A row has the same score, bit for bit, alone and among others: for one row BLAS has another way to add up, so it
        gets two.
        """
        if len(matrix) == 1:
            return self.classifier.predict_proba(np.vstack([matrix, matrix]))[:1, 1]
        return self.classifier.predict_proba(matrix)[:, 1]


def load_served_model(registry: Path, name: str, version: str) -> ServedModel:
    """Blocking: reads the disk and imports scikit-learn or onnxruntime. Raises RegistryError."""
    metadata = read_metadata(registry, name, version)
    if metadata.features != FEATURES:
        path = version_directory(registry, name, version) / METADATA_FILE
        raise RegistryError(path, f"features are {metadata.features}, but this server uses {FEATURES}")
    return ServedModel(metadata, load_model(registry, metadata))


RiskLevel = Literal["low", "medium", "high"]
RISK_LEVELS: tuple[RiskLevel, ...] = get_args(RiskLevel)


def risk_level(probability: float) -> RiskLevel:
    if probability < _MEDIUM_RISK:
        return "low"
    return "medium" if probability < _HIGH_RISK else "high"


@dataclass(frozen=True, slots=True)
class Question:
    """What a body asks: its rows (n, 5), and the answer's content from their scores (n,)."""

    matrix: FloatArray
    answer: Callable[[FloatArray], dict[str, Any]]


# Raises Refused for a body that is not valid.
Read = Callable[[bytes, Metadata], Question]


def read_row(body: bytes, metadata: Metadata) -> Question:
    row = parse_body(CustomerRow, body)
    return Question(as_matrix([row]), lambda scores: predictions([row], metadata, scores)[0])


def read_batch(body: bytes, metadata: Metadata) -> Question:
    rows = parse_body(Batch, body).rows

    def answer(scores: FloatArray) -> dict[str, Any]:
        return {"predictions": predictions(rows, metadata, scores), "model_version": metadata.version}

    return Question(as_matrix(rows), answer)


def answer_alone(read: Read, body: bytes, model: ServedModel, distort: Distortion) -> dict[str, Any]:
    question = read(body, model.metadata)
    return question.answer(distort(model.score(question.matrix)))


def predictions(rows: list[CustomerRow], metadata: Metadata, scores: FloatArray) -> list[dict[str, Any]]:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return [
        {
            "customer_id": row.customer_id,
            "churn_probability": score,
            "risk_level": risk_level(score),
            "model_version": metadata.version,
            "prediction_timestamp": at,
        }
        for row, score in zip(rows, scores.tolist(), strict=True)
    ]
