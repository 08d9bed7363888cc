"""Writes one small classifier in the form that a model server takes: `python churn.py mlserver|mlflow FOLDER`.

It runs with the Python of that server's environment, which has neither Crossfade nor its tests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sklearn.linear_model import LogisticRegression

INPUTS = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


def trained() -> LogisticRegression:
    """Says yes where the first of two inputs is large."""
    return LogisticRegression().fit(INPUTS * 5, [0, 0, 1, 1] * 5)


def write_for_mlserver(folder: Path) -> None:
    import joblib

    joblib.dump(trained(), folder / "model.joblib")
    parameters = {"uri": "./model.joblib", "version": "v1"}
    settings = {
        "name": "churn",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": parameters,
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))


def write_for_mlflow(folder: Path) -> None:
    import mlflow.sklearn

    mlflow.sklearn.save_model(trained(), folder / "model", pyfunc_predict_fn="predict_proba")


if __name__ == "__main__":
    kind, place = sys.argv[1:]
    {"mlserver": write_for_mlserver, "mlflow": write_for_mlflow}[kind](Path(place))
