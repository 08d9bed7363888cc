"""What each version is: an estimator, its parameters, and the mistake made in its training data.

Plain data, without scikit-learn, so that `train` can tell an up-to-date registry apart
without paying for the import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from crossfade_backends.data import AMOUNT, Sample

MODEL_NAME = "churn"

# Plain gradient boosting, not Hist*: that one pays for a thread pool at each single row.
BOOSTING: Mapping[str, int | float] = MappingProxyType(
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
    estimator: Literal["logistic_regression", "gradient_boosting"]
    options: Mapping[str, int | float]
    amounts_in_cents: bool = False

    def prepare(self, sample: Sample) -> Sample:
        """The training data as this version saw it."""
        if not self.amounts_in_cents:
            return sample
        features = sample.features.copy()
        features[:, AMOUNT] *= 100
        return Sample(features, sample.churned)


RECIPES = (
    Recipe("v2", "logistic_regression", MappingProxyType({"C": 1.0, "max_iter": 200})),
    Recipe("v3", "gradient_boosting", BOOSTING),
    # The mistake: its training export had cents where the server is sent euros, so that
    # every customer looks like one who hardly spends. The estimator is v3's.
    Recipe("v4", "gradient_boosting", BOOSTING, amounts_in_cents=True),
)
