"""Customers for a demonstration: `python -m crossfade_backends.customers` prints their requests, and what became of them.

Each line is `{"row": the body of POST /predict, "churned": 0 or 1}`. With `--currency 10` the shop has changed its currency: all
amounts are ten times as large, and customers behave as before. A model that was trained before then takes everybody for a
big spender; one that is trained on the new rows does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from crossfade_backends.data import AMOUNT, Sample, as_request, draw_sample

_DEFAULT_ROWS = 1000


def customers(rows: int, seed: int, currency: float = 1.0) -> Iterator[dict[str, object]]:
    """`currency`: what one euro is in the amounts of the requests."""
    sample = draw_sample(rows, seed)
    features = sample.features.copy()
    features[:, AMOUNT] = (features[:, AMOUNT] * currency).round(2)
    seen = Sample(features, sample.churned)
    for index in range(rows):
        yield {"row": as_request(seen, index), "churned": int(sample.churned[index])}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.customers", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=_DEFAULT_ROWS, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--currency", type=float, default=1.0, metavar="X", help="what one euro is")
    options = parser.parse_args(arguments)
    if options.rows < 1 or options.seed < 0 or not 0 < options.currency < 1e6:
        parser.error("--rows and --currency must be above 0, and --seed not below it")
    for customer in customers(options.rows, options.seed, options.currency):
        print(json.dumps(customer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
