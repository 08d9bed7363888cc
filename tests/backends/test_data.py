"""The generating process: valid features, plausible distributions, a churn that is not linear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_backends.data import (
    FEATURES,
    MAX_TENURE_DAYS,
    as_request,
    churn_log_odds,
    draw_sample,
    fingerprint,
    sigmoid,
    split_sample,
)
from crossfade_backends.rows import CustomerRow, as_matrix

SEEDS = st.integers(0, 2**32)


@given(st.integers(0, 300), SEEDS)
def test_the_same_seed_gives_the_same_fingerprint(rows, seed):
    first, second = draw_sample(rows, seed), draw_sample(rows, seed)
    assert np.array_equal(first.features, second.features)
    assert fingerprint(first) == fingerprint(second)


def test_another_seed_or_a_changed_value_changes_the_fingerprint():
    sample = draw_sample(50, 1)
    fingerprints = {fingerprint(sample), fingerprint(draw_sample(50, 2)), fingerprint(draw_sample(51, 1))}
    sample.features[7, 1] += 0.01
    fingerprints.add(fingerprint(sample))
    sample.churned[3] ^= 1
    fingerprints.add(fingerprint(sample))
    assert len(fingerprints) == 5


@given(st.integers(1, 300), SEEDS)
def test_every_drawn_customer_is_consistent(rows, seed):
    sample = draw_sample(rows, seed)
    assert sample.features.shape == (rows, len(FEATURES))
    assert sample.churned.shape == (rows,)
    assert set(sample.churned.tolist()) <= {0, 1}
    transactions, amount, silence, tickets, tenure = sample.features.T
    assert np.isfinite(sample.features).all() and (sample.features >= 0).all()
    for integers in (transactions, silence, tickets, tenure):
        assert np.array_equal(integers, np.floor(integers))
    assert (tenure >= 1).all() and (tenure <= MAX_TENURE_DAYS).all()
    assert (silence <= tenure).all()
    assert ((transactions > 0) | (amount == 0)).all()
    # A customer with a purchase in the last 30 days has fewer than 30 days since the last purchase.
    assert ((transactions == 0) | (silence < 30)).all()


def test_distributions_are_plausible_for_a_shop():
    sample = draw_sample(20_000, 3)
    transactions, amount, silence, tickets, tenure = sample.features.T
    assert 0.23 < sample.churned.mean() < 0.33
    assert 4 <= np.median(transactions) <= 7
    assert 0.05 < (transactions == 0).mean() < 0.20
    assert amount.mean() > 1.5 * np.median(amount), "spending has a long right tail"
    assert 0.5 < (tickets == 0).mean() < 0.8
    assert 300 < np.median(tenure) < 700
    assert np.median(silence[transactions > 0]) < np.median(silence[transactions == 0])


def log_odds(**changes: float) -> float:
    customer = dict.fromkeys(FEATURES, 0.0) | {
        "nb_transactions_30d": 8,
        "total_amount_30d": 200,
        "days_since_last_transaction": 2,
        "subscription_age_days": 700,
    }
    return float(churn_log_odds(np.array([list((customer | changes).values())]))[0])


def test_churn_log_odds_are_not_linear():
    quiet = {"days_since_last_transaction": 10.0}
    frequent = log_odds(**quiet) - log_odds()
    rare = log_odds(nb_transactions_30d=1, **quiet) - log_odds(nb_transactions_30d=1)
    assert frequent > 10 * rare, "days without a purchase must matter more for a frequent buyer"
    small = {"total_amount_30d": 50.0}
    assert log_odds(support_tickets_90d=3) - log_odds() > 2
    assert log_odds(support_tickets_90d=3, **small) < log_odds(**small)
    renewal = log_odds(subscription_age_days=365)
    assert renewal > log_odds(subscription_age_days=300)
    assert renewal > log_odds(subscription_age_days=430)


@given(st.floats(-1e6, 1e6))
def test_sigmoid_is_a_probability_and_symmetric(value):
    probability = float(sigmoid(np.array(value)))
    assert 0 <= probability <= 1
    assert probability + float(sigmoid(np.array(-value))) == pytest.approx(1)


@pytest.mark.parametrize(("rows", "held_out"), [(400, 100), (401, 100), (402, 100), (403, 101), (1, 0)])
def test_the_split_keeps_every_row_once(rows, held_out):
    sample = draw_sample(rows, 5)
    train, test = split_sample(sample)
    assert len(test.churned) == held_out
    assert np.array_equal(np.concatenate([train.features, test.features]), sample.features)
    assert np.array_equal(np.concatenate([train.churned, test.churned]), sample.churned)


@given(SEEDS)
def test_a_drawn_customer_is_a_valid_request(seed):
    sample = draw_sample(3, seed)
    rows = [CustomerRow.model_validate(as_request(sample, index)) for index in range(3)]
    assert np.array_equal(as_matrix(rows), sample.features)
    assert [row.customer_id for row in rows] == ["C000000", "C000001", "C000002"]
