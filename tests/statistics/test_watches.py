"""How fast watches find a fault, and that they leave a healthy challenger alone; fixed seeds (`watches` measures more)."""

from __future__ import annotations

import pytest

from .watches import FAULTS, USUAL, Watch, drifting, requests_until_fail, steady

# The most that any of the seeds below may need; without gates theory expects 5 000 for 1 → 10 % with 2 %.
MOST = {
    "holdback 2%: 1 → 5%": 60_000,
    "holdback 2%: 1 → 10%": 25_000,
    "no holdback: 1 → 5%": 40_000,
    "no holdback: 1 → 10%": 20_000,
}


@pytest.mark.parametrize("watch", [w for w in FAULTS if w.name in MOST], ids=lambda watch: watch.name)
def test_a_fault_after_the_promote_is_found(watch):
    found = [requests_until_fail(watch, seed) for seed in range(6)]
    assert all(n is not None and n <= MOST[watch.name] for n in found), found


@pytest.mark.parametrize("holdback", [0.0, 0.02])
@pytest.mark.parametrize("ours", [steady(USUAL), drifting(USUAL, 0.2)])
def test_a_healthy_challenger_is_not_rolled_back(ours, holdback):
    watch = Watch("", ours, ours, holdback, per_second=20.0, seconds=4 * 3600)
    assert [requests_until_fail(watch, seed) for seed in range(3)] == [None] * 3
