"""Customers of a demonstration: their requests are valid, their labels are those of the process, and currencies change amounts alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from crossfade_backends.customers import customers
from crossfade_backends.data import draw_sample


def _rows(*arguments: str) -> list[dict[str, Any]]:
    found = subprocess.run(
        (sys.executable, "-m", "crossfade_backends.customers", *arguments), capture_output=True, check=True
    )
    return [json.loads(line) for line in found.stdout.splitlines()]


def test_the_same_seed_gives_the_same_customers_in_another_currency() -> None:
    euros, others = (
        _rows("--rows", "50", "--seed", "3"),
        _rows("--rows", "50", "--seed", "3", "--currency", "10"),
    )
    assert len(euros) == 50
    assert euros != _rows("--rows", "50", "--seed", "4")
    for one, other in zip(euros, others, strict=True):
        assert one["churned"] == other["churned"]
        amount = one["row"].pop("total_amount_30d")
        assert abs(other["row"].pop("total_amount_30d") - 10 * amount) < 0.01
        assert one["row"] == other["row"]


def test_labels_are_those_of_the_process() -> None:
    sample = draw_sample(400, 9)
    assert [each["churned"] for each in customers(400, 9)] == sample.churned.tolist()


def test_a_wrong_number_is_refused() -> None:
    found = subprocess.run(
        (sys.executable, "-m", "crossfade_backends.customers", "--rows", "0"),
        capture_output=True,
        check=False,
    )
    assert found.returncode == 2
    assert b"--rows" in found.stderr
