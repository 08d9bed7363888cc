"""The customers of the load test, with stable ids and plausible features.

Rule: a customer is a function of its number, so that every run and every process has the same customers.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Customer:
    customer_id: str
    nb_transactions_30d: int
    total_amount_30d: float
    days_since_last_transaction: int
    support_tickets_90d: int
    subscription_age_days: int

    def as_json(self) -> dict[str, str | int | float]:
        return asdict(self)


def customer(number: int) -> Customer:
    """Most buy a few times a month, some daily, 10 % not at all; these have the most days since a purchase."""
    generator = random.Random(number)
    transactions = 0 if generator.random() < 0.1 else round(generator.lognormvariate(1.6, 0.9))
    basket = generator.lognormvariate(3.4, 0.6)
    days_since = (
        generator.expovariate(1 / 60) if transactions == 0 else generator.expovariate(transactions / 30)
    )
    return Customer(
        customer_id=f"c-{number:06d}",
        nb_transactions_30d=transactions,
        total_amount_30d=round(transactions * basket, 2),
        days_since_last_transaction=min(round(days_since), 3650),
        support_tickets_90d=max(0, round(generator.gauss(0.2, 1.2))),
        subscription_age_days=round(generator.uniform(1, 2500)),
    )
