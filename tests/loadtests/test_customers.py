from __future__ import annotations

from crossfade_backends.rows import CustomerRow
from loadtests.customers import customer


def test_customers_are_distinct_stable_and_valid() -> None:
    customers = [customer(n) for n in range(2000)]
    assert len({one.customer_id for one in customers}) == 2000
    assert customers[17] == customer(17)
    for one in customers:
        assert CustomerRow.model_validate(one.as_json()).customer_id == one.customer_id


def test_features_of_customers_are_plausible() -> None:
    customers = [customer(n) for n in range(2000)]
    dormant = [one for one in customers if one.nb_transactions_30d == 0]
    assert 150 < len(dormant) < 500
    assert all(one.total_amount_30d == 0 for one in dormant)
    busy = [one for one in customers if one.nb_transactions_30d >= 20]
    assert len(busy) > 50
    mean = sum(one.days_since_last_transaction for one in busy) / len(busy)
    assert mean < sum(one.days_since_last_transaction for one in dormant) / len(dormant)
