"""Off-policy evaluation: reference values, no bias, and intervals that hold at every look."""

from __future__ import annotations

import random
from itertools import product
from math import exp, fsum, inf

import pytest

from crossfade.stats.off_policy import (
    FINE,
    Moments,
    Scale,
    asymptotic_interval,
    bounded_interval,
    phi_of,
)
from crossfade.stats.off_policy import _log_e_above as log_e_above

CHALLENGER, CHAMPION = 1, 0


def test_reference_values():
    """Six rows of an independent calculation; the policy is the challenger in segment 0 and the champion in segment 1."""
    segments, chosen, policy = (0, 0, 1, 1, 0, 1), (1, 0, 0, 1, 0, 0), {0: CHALLENGER, 1: CHAMPION}
    chances, numbers = (0.2, 0.8, 0.7, 0.3, 0.8, 0.7), (1.0, 0.0, 1.0, 1.0, 1.0, 0.0)
    q = {(0, 1): 0.8, (0, 0): 0.5, (1, 1): 0.6, (1, 0): 0.4}
    found = Moments()
    for x, a, p, y in zip(segments, chosen, chances, numbers, strict=True):
        weight = (a == policy[x]) / p
        found.add(weight, y, phi_of(q[x, policy[x]], weight, y, q[x, a]))
    assert found.ips == pytest.approx(1.071429, abs=1e-6)
    assert found.snips == pytest.approx(0.818182, abs=1e-6)
    assert found.dr == pytest.approx(0.814286, abs=1e-6)
    assert found.size == pytest.approx(2.122807, abs=1e-6)


def test_alike_rows_can_be_added_at_once():
    one, many = Moments(), Moments()
    for _ in range(5):
        one.add(2.0, 0.25, 0.75)
    many.add(2.0, 0.25, 0.75, 5)
    assert one == many


def test_no_rows_say_nothing():
    found = Moments()
    assert (found.ips, found.snips, found.dr, found.size) == (0.0, 0.0, 0.0, 0.0)
    assert asymptotic_interval(found, 0.05) == (-inf, inf)
    assert bounded_interval({}, Scale(-2.0, 3.0), 0.05) == (-2.0, 3.0)


@pytest.mark.parametrize("q", [(0.0, 0.0), (0.3, 0.7), (1.0, 0.1)])
@pytest.mark.parametrize("plan", [0.0, 0.5, 1.0])
def test_the_mean_of_phi_is_the_policys_whatever_the_model_says(q, plan):
    """By summation over sides and outcomes; the numbers are events with these probabilities."""
    share, means = 0.2, (0.4, 0.6)
    mean = 0.0
    for side, y in product((0, 1), (0.0, 1.0)):
        chance = (1 - share, share)[side]
        weight = (1 - plan, plan)[side] / chance
        happens = means[side] if y else 1 - means[side]
        planned = plan * q[1] + (1 - plan) * q[0]
        mean += chance * happens * phi_of(planned, weight, y, q[side])
    assert mean == pytest.approx(plan * means[1] + (1 - plan) * means[0])


def test_phi_is_between_the_ends_that_the_weights_fix():
    largest = 5.0
    for weight, y, planned, expected in product((0.0, 1.0, largest), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0)):
        assert -largest <= phi_of(planned, weight, y, expected) <= 1 + largest


@pytest.mark.parametrize("mean", [0.25, 0.5])
def test_the_expectation_of_a_bet_is_one_at_the_mean(mean):
    expected = 0.0
    for outcome in product((0, 1), repeat=6):
        x = sum(outcome)
        chance = mean**x * (1 - mean) ** (6 - x)
        expected += chance * exp(log_e_above({0: 6 - x, FINE: x}, mean))
    assert expected == pytest.approx(1)


def test_levels_round_to_the_mean():
    scale = Scale(-2.0, 3.0)
    for phi in (-3.0, -2.0, -0.3, 0.0, 1.7, 3.0, 4.0):
        levels: dict[int, float] = {}
        scale.add(levels, phi, 7)
        assert sum(levels.values()) == pytest.approx(7)
        assert set(levels) <= set(range(FINE + 1))
        mean = sum(k * n for k, n in levels.items()) / 7 / FINE
        assert scale.low + mean * (scale.high - scale.low) == pytest.approx(min(max(phi, -2.0), 3.0))


def logged(rng: random.Random, n: int, share: float, means: tuple[float, float], plan: float):
    """(φ levels, moments) of a log whose challenger had this share."""
    top = max((1 - plan) / (1 - share), plan / share)
    scale, levels, found = Scale(-top, 1 + top), dict[int, float](), Moments()
    for _ in range(n):
        side = rng.random() < share
        y = float(rng.random() < means[side])
        weight = (plan / share) if side else (1 - plan) / (1 - share)
        planned, expected = plan * 0.5 + (1 - plan) * 0.5, 0.5
        phi = phi_of(planned, weight, y, expected)
        scale.add(levels, phi)
        found.add(weight, y, phi)
    return scale, levels, found


def test_intervals_cover_the_policys_value_and_become_narrow():
    rng, plan, means, misses = random.Random(3), 0.5, (0.2, 0.4), 0
    for _ in range(20):
        scale, levels, found = logged(rng, 2000, 0.1, means, plan)
        low, high = bounded_interval(levels, scale, 0.05)
        misses += not low <= 0.3 <= high
        assert low <= found.dr <= high or abs(found.dr - low) < 0.05
        other_low, other_high = asymptotic_interval(found, 0.05)
        misses += not other_low <= 0.3 <= other_high
        assert high - low < 0.35
        assert other_high - other_low < 0.35
    assert misses == 0


def test_the_exact_interval_narrows_with_the_root_of_the_rows():
    rng = random.Random(5)
    widths = []
    for n in (1000, 16_000):
        scale, levels, _ = logged(rng, n, 0.25, (0.2, 0.4), 0.5)
        low, high = bounded_interval(levels, scale, 0.05)
        widths.append(high - low)
    assert widths[1] < widths[0] / 2.5


def test_a_wide_scale_costs_little():
    """The ends are ten times as far as any φ, as where a rule is rarely met."""
    rng = random.Random(7)
    scale, levels, _ = logged(rng, 20_000, 0.25, (0.2, 0.4), 0.5)
    narrow = bounded_interval(levels, scale, 0.05)
    wide_scale, wide = Scale(-20.0, 21.0), dict[int, float]()
    for k, n in levels.items():
        phi = scale.low + k * (scale.high - scale.low) / FINE
        for _ in range(round(n)):
            wide_scale.add(wide, phi)
    found = bounded_interval(wide, wide_scale, 0.05)
    assert found[1] - found[0] < 1.5 * (narrow[1] - narrow[0])
    assert fsum(levels.values()) == pytest.approx(fsum(wide.values()), abs=1)
