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


def predict_row(body: bytes, model: ServedModel, distort: Distortion) -> dict[str, Any]:
    row = parse_body(CustomerRow, body)
    return _answer_rows([row], model, distort)[0]


def predict_batch(body: bytes, model: ServedModel, distort: Distortion) -> dict[str, Any]:
    batch = parse_body(Batch, body)
    predictions = _answer_rows(batch.rows, model, distort)
    return {"predictions": predictions, "model_version": model.metadata.version}


def _answer_rows(rows: list[CustomerRow], model: ServedModel, distort: Distortion) -> list[dict[str, Any]]:
    scores: list[float] = distort(model.score(as_matrix(rows))).tolist()
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return [
        {
            "customer_id": row.customer_id,
            "churn_probability": score,
            "risk_level": risk_level(score),
            "model_version": model.metadata.version,
            "prediction_timestamp": at,
        }
        for row, score in zip(rows, scores, strict=True)
    ]
