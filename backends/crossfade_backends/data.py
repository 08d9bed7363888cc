"""Draws simulated customers from a documented generating process with a seed.

Each customer has a mean purchase frequency (transactions in 30 days, log-normal; 10 % are
dormant), a basket size, a tenure, and support tickets, which are overdispersed and more frequent in
the first 120 days. The log-odds of churn, in `churn_log_odds`, have terms that no linear model fits:

- days without a purchase count relative to the frequency: ten days matter for a daily buyer and
  not for a monthly one (`days x transactions`, through a sigmoid);
- tickets raise churn for customers who spend 120 or more, and hardly change it for the others;
- churn is high in the first quarter, and around the first renewal at day 365;
- spending lowers churn, with diminishing returns (a logarithm).

Rule: the same number of rows and the same seed give the same bytes (for one numpy version).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
LabelArray = NDArray[np.int8]

# Training, registry and server all use this order.
FEATURES = (
    "nb_transactions_30d",
    "total_amount_30d",
    "days_since_last_transaction",
    "support_tickets_90d",
    "subscription_age_days",
)
AMOUNT = FEATURES.index("total_amount_30d")
MAX_TENURE_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Sample:
    """`features` is (n, 5) in the order of FEATURES, amounts in euros; `churned` is (n,) of 0 and 1."""

    features: FloatArray
    churned: LabelArray


def draw_sample(rows: int, seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    features = _draw_features(rows, rng)
    probability = sigmoid(churn_log_odds(features))
    churned = (rng.random(rows) < probability).astype(np.int8)
    return Sample(features, churned)


def _draw_features(rows: int, rng: np.random.Generator) -> FloatArray:
    tenure = np.floor(np.minimum(1 + rng.gamma(1.3, 520, rows), MAX_TENURE_DAYS))
    dormant = rng.random(rows) < 0.10
    frequency = rng.lognormal(np.log(6), 0.8, rows) * np.where(dormant, 0.05, 1.0)
    transactions = rng.poisson(frequency)
    basket = rng.lognormal(np.log(28), 0.8, rows)
    # Gamma noise with mean 1 and shape 20: the total is not an exact multiple of the mean basket.
    amount = np.round(transactions * basket * rng.gamma(20, 1 / 20, rows), 2)
    within_month = np.minimum(rng.exponential(np.minimum(45 / (transactions + 1.0), 14)), 29)
    beyond_month = 30 + rng.exponential(30, rows)
    silence = np.floor(np.minimum(np.where(transactions > 0, within_month, beyond_month), tenure))
    tickets = rng.poisson(rng.gamma(0.6, 1.0, rows) * np.where(tenure < 120, 1.8, 1.0))
    return np.column_stack([transactions, amount, silence, tickets, tenure]).astype(np.float64)


def churn_log_odds(features: FloatArray) -> FloatArray:
    """(n, 5) features to (n,) log-odds; the module header explains the terms."""
    transactions, amount, silence, tickets, tenure = features.T
    log_odds: FloatArray = (
        -0.55
        - 1.0 * np.log1p(amount / 40)
        + 2.4 * sigmoid(silence * (transactions + 1) / 15 - 5)
        + 1.5 * np.exp(-tenure / 90)
        + 1.0 * ((tenure > 330) & (tenure < 400))
        + np.minimum(tickets, 5) * np.where(amount < 120, -0.1, 0.75)
    )
    return log_odds


def sigmoid(log_odds: FloatArray) -> FloatArray:
    # Equal to 1 / (1 + exp(-x)), but does not overflow for large negative x.
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)), dtype=np.float64)


def split_sample(sample: Sample, held_out: float = 0.25) -> tuple[Sample, Sample]:
    """Training and held-out rows, split by position. The rows are independent, so no shuffle is needed."""
    cut = len(sample.churned) - round(len(sample.churned) * held_out)
    train = Sample(sample.features[:cut], sample.churned[:cut])
    return train, Sample(sample.features[cut:], sample.churned[cut:])


def fingerprint(sample: Sample) -> str:
    """SHA-256 of the feature names, the shape and the values."""
    digest = hashlib.sha256(f"{FEATURES}{sample.features.shape}".encode())
    digest.update(sample.features.astype("<f8").tobytes())
    digest.update(sample.churned.tobytes())
    return digest.hexdigest()


def as_request(sample: Sample, index: int) -> dict[str, str | int | float]:
    """One customer as the JSON body of `POST /predict`; counts and days are integers."""
    row: dict[str, str | int | float] = {"customer_id": f"C{index:06d}"}
    for position, (name, value) in enumerate(zip(FEATURES, sample.features[index].tolist(), strict=True)):
        row[name] = value if position == AMOUNT else int(value)
    return row
