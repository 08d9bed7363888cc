"""The recipe of each version: an estimator, its parameters, and whether its training data has wrong units.

The recipes do not import scikit-learn, so that `train` can check an up-to-date registry
without the cost of the import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from crossfade_backends.data import AMOUNT, Sample

MODEL_NAME = "churn"

# Not HistGradientBoosting: it starts a thread pool for every prediction, also for one row.
_BOOSTING: Mapping[str, int | float] = MappingProxyType(
    {
        "n_estimators": 80,
        "max_depth": 3,
        "learning_rate": 0.1,
        "min_samples_leaf": 20,
        "subsample": 0.7,
        "random_state": 0,
    }
)


@dataclass(frozen=True, slots=True)
class Recipe:
    version: str
    estimator: Literal["logistic_regression", "gradient_boosting", "neural_network"]
    options: Mapping[str, int | float]
    amounts_in_cents: bool = False
    is_onnx: bool = False

    def prepare(self, sample: Sample) -> Sample:
        """The training data of this version."""
        if not self.amounts_in_cents:
            return sample
        features = sample.features.copy()
        features[:, AMOUNT] *= 100
        return Sample(features, sample.churned)


RECIPES = (
    Recipe("v2", "logistic_regression", MappingProxyType({"C": 1.0, "max_iter": 200})),
    Recipe("v3", "gradient_boosting", _BOOSTING),
    # The mistake: the training data has cents and requests have euros, so every customer
    # seems to spend very little. The estimator is the one of v3.
    Recipe("v4", "gradient_boosting", _BOOSTING, amounts_in_cents=True),
)

# For devices (docs/edge.md), so it is trained only on demand. It is registered as ONNX: scikit-learn's own network gives a row
# among a few others other bits than alone.
NETWORK = Recipe(
    "v5",
    "neural_network",
    MappingProxyType(
        {
            "layers": 2,
            "width": 128,
            "alpha": 0.001,
            "batch_size": 256,
            "learning_rate_init": 0.002,
            "max_iter": 10,
            "random_state": 0,
        }
    ),
    is_onnx=True,
)
