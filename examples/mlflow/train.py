"""Writes versions of a model that says whether a customer leaves, as MLflow saves them: `python train.py v2 v3`."""

from __future__ import annotations

import sys

import mlflow.sklearn
import pandas as pd
from sklearn.linear_model import LogisticRegression

MODELS = {
    "v2": LogisticRegression(),
    "v3": LogisticRegression(C=0.01),
}


def customers() -> tuple[pd.DataFrame, list[int]]:
    """What each spent in 30 days and the days since, and whether he left: those who spent little long ago."""
    rows = [(float(amount), days) for amount in range(0, 100, 5) for days in range(0, 90, 6)]
    left = [int(days > 30 + amount / 2) for amount, days in rows]
    return pd.DataFrame(rows, columns=["amount", "days"]), left


if __name__ == "__main__":
    inputs, left = customers()
    for version in sys.argv[1:]:
        model = MODELS[version].fit(inputs, left)
        mlflow.sklearn.save_model(model, version, pyfunc_predict_fn="predict_proba")
