"""What a version was trained on and how it scores, as `profile.json` beside its metadata; the format is in docs/drift.md.

Rule: inputs are those of the training data as the model saw them, so a server that gets other units than its model was trained
on differs from its own profile. Scores and loss are of held-out rows, since a model is too good on those that it knows.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import numpy as np

from crossfade_backends.data import FEATURES, FloatArray, Sample

PROFILE_FILE = "profile.json"
FORMAT = 1
PERCENTILES = 100
SAMPLED = 1000  # rows kept, for a test of all fields together
_SEED = 7


def profile_of(title: str, created: datetime, train: Sample, held_out: Sample, scores: FloatArray) -> bytes:
    """`title`: such as "churn v3". `scores`: of the held-out rows."""
    rows = len(train.features)
    picked = np.random.default_rng(_SEED).permutation(rows)[:SAMPLED]
    made: dict[str, Any] = {
        "format": FORMAT,
        "name": title,
        "created": created.isoformat(),
        "rows": rows,
        "fields": {name: number_field(train.features[:, i]) for i, name in enumerate(FEATURES)},
        "score": number_field(scores),
        "loss": float(np.mean((scores - held_out.churned) ** 2)),
        "loss_n": len(scores),
        "columns": FEATURES,
        "sample": train.features[picked].tolist(),
    }
    return json.dumps(made).encode() + b"\n"


def number_field(values: FloatArray) -> dict[str, Any]:
    """Counts between the percentiles, each a value that occurs; (cuts[i−1], cuts[i]] is a bin."""
    ordered = np.sort(values)
    ranks = -(-len(ordered) * np.arange(1, PERCENTILES) // PERCENTILES) - 1
    cuts = np.unique(ordered[np.maximum(ranks, 0)])
    bins = np.searchsorted(cuts, ordered, side="left")
    return {
        "type": "number",
        "n": len(ordered),
        "cuts": cuts.tolist(),
        "counts": np.bincount(bins, minlength=len(cuts) + 1).tolist(),
        "low": float(ordered[0]),
        "high": float(ordered[-1]),
    }
