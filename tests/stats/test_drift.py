"""Drift: reference values, exact expectations, run lengths of the alarm, and the numbers for display against SciPy."""

from __future__ import annotations

import random
from itertools import product
from math import comb, exp, inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, chi2_contingency, wasserstein_distance

from crossfade.stats.drift import (
    away_logs,
    chi_square_exceeds,
    chi_square_quantile,
    detector_limit,
    e_bh,
    index_quantile,
    log_e_away,
    log_e_categories,
    log_e_share,
    log_e_shift,
    next_detector,
    sampling_error,
    two_sample_chi_square,
    wasserstein,
)

DECILES = [i / 10 for i in range(1, 10)]
LIVE = (40, 60, 80, 95, 100, 105, 110, 120, 130, 160)


def test_reference_values():
    error = sampling_error(10_000, 0.0005)
    assert error == pytest.approx(0.020364, abs=1e-6)
    assert log_e_shift(LIVE, DECILES, 0.05 + error) == pytest.approx(1.214246, abs=1e-6)
    assert log_e_shift(LIVE, DECILES, 0.10 + error) == pytest.approx(-2.197001, abs=1e-6)
    assert index_quantile(1000, 10_000, 10) == pytest.approx(0.018611, abs=1e-6)
    assert index_quantile(50, 10_000, 10) == pytest.approx(0.340071, abs=1e-6)


def test_reference_values_of_the_detector():
    found, log_m = [], -inf
    for factor in (2, 0.5, 3, 1.5):
        log_m = next_detector(log_m, log(factor))
        found.append(exp(log_m))
    assert found == pytest.approx([2, 1.5, 7.5, 12.75])


def multinomial(n: int, shares):
    """Each row of counts of n values, with its probability."""
    for counts in product(range(n + 1), repeat=len(shares) - 1):
        if sum(counts) <= n:
            full, p, left = (*counts, n - sum(counts)), 1.0, n
            for x, share in zip(full, shares, strict=True):
                p *= comb(left, x) * share**x
                left -= x
            yield full, p


@pytest.mark.parametrize("live", [(0.2, 0.3, 0.5), (0.3, 0.3, 0.4), (0.1, 0.3, 0.6), (0.3, 0.1, 0.6)])
def test_shares_within_the_tolerance_have_expectation_at_most_one(live):
    mean = sum(p * exp(log_e_shift(counts, (0.2, 0.5), 0.1)) for counts, p in multinomial(12, live))
    assert mean <= 1 + 1e-9


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_each_alternative_has_expectation_at_most_one(share):
    chances = [comb(15, x) * share**x * (1 - share) ** (15 - x) for x in range(16)]
    logs = [away_logs(x, 15, 0.2, 0.1) for x in range(16)]
    for j in range(len(logs[0])):
        assert sum(p * exp(each[j]) for p, each in zip(chances, logs, strict=True)) <= 1 + 1e-9


def test_shares_beyond_the_tolerance_have_a_larger_expectation():
    beyond = sum(
        p * exp(log_e_shift(counts, (0.2, 0.5), 0.1)) for counts, p in multinomial(12, (0.5, 0.2, 0.3))
    )
    assert beyond > 1.3


@pytest.mark.parametrize("live", [(0.2, 0.3, 0.5), (0.3, 0.25, 0.45), (0.1, 0.3, 0.6)])
def test_categories_within_the_tolerance_have_expectation_at_most_one(live):
    shares = (0.2, 0.3, 0.5)
    mean = sum(p * exp(log_e_categories(counts, shares, 0.1)) for counts, p in multinomial(12, live))
    assert mean <= 1 + 1e-9


def test_a_share_may_fall_as_well_as_rise():
    assert log_e_away(20, 1000, 0.2, 0.05) > log(100)
    assert log_e_away(400, 1000, 0.2, 0.05) > log(100)
    assert log_e_share(20, 1000, 0.2, 0.05) < 0


def test_a_tolerance_that_allows_everything_says_nothing():
    assert log_e_shift((0, 100), (0.9,), 0.95) == 0
    assert log_e_shift((100,), (), 0.1) == 0
    assert log_e_categories((), (), 0.1) == 0


def test_without_reference_values_everything_is_allowed():
    assert sampling_error(0, 0.0005) == 1
    assert sampling_error(1, 1e-300) == 1


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_reference_values_allow_less(n, m):
    assert sampling_error(n + m, 0.0005) <= sampling_error(n, 0.0005)


# ── alarms ────────────────────────────────────────────────────────────────────────────────────


def run_length(limit: float, detectors: int, bets, draw: random.Random, at_most: int) -> int:
    logs = [-inf] * detectors
    for t in range(1, at_most + 1):
        shared = draw.random()  # all detectors see the same: dependence must not matter
        logs = [next_detector(log_m, bets(shared)) for log_m in logs]
        if max(logs) >= limit:
            return t
    return at_most


def doubled(toss: float) -> float:
    """A fair bet."""
    return log(1.9) if toss < 0.5 else log(0.1)


@pytest.mark.parametrize("detectors", [1, 4])
def test_false_alarms_are_as_rare_as_stated(detectors):
    draw, windows = random.Random(3), 40
    limit = detector_limit(windows, detectors)
    runs = [run_length(limit, detectors, doubled, draw, 4000) for _ in range(400)]
    assert sum(runs) / len(runs) >= windows


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_the_detector_is_one_plus_m_times_l(log_m, log_e):
    assert next_detector(log_m, log_e) == pytest.approx(log((1 + exp(log_m)) * exp(log_e)), abs=1e-9)


def test_a_detector_at_infinity_stays_there():
    assert next_detector(inf, -5.0) == inf


def test_more_detectors_share_the_stated_rate():
    assert detector_limit(720, 1) == pytest.approx(log(720))
    assert detector_limit(720, 10) == pytest.approx(log(7200))
    assert detector_limit(0.5, 0) == 0


def test_fields_are_listed_by_e_bh():
    assert e_bh([log(e) for e in (12, 400, 3, 90, 30)], 0.05) == [1, 3]
    assert e_bh([], 0.05) == []
    assert e_bh([0.0, 0.0], 0.05) == []


@given(st.lists(st.floats(-20, 20), max_size=12), st.integers(0, 11), st.floats(0, 10))
def test_more_evidence_never_takes_a_field_from_the_list(logs, at, more):
    before = e_bh(logs, 0.05)
    if at < len(logs):
        logs = [*logs[:at], logs[at] + more, *logs[at + 1 :]]
    assert set(before) <= set(e_bh(logs, 0.05))


# ── for display ───────────────────────────────────────────────────────────────────────────────


@given(st.floats(0.001, 2000), st.integers(1, 500))
def test_chi_square_as_scipy_has_it(statistic, freedom):
    assert chi_square_exceeds(statistic, freedom) == pytest.approx(chi2.sf(statistic, freedom), abs=1e-10)


@pytest.mark.parametrize("freedom", [1, 2, 9, 99])
def test_quantiles_as_scipy_has_them(freedom):
    assert chi_square_quantile(0.95, freedom) == pytest.approx(chi2.ppf(0.95, freedom), rel=1e-9)


def test_two_rows_as_scipy_has_them():
    live, reference = (30, 50, 20), (200, 600, 200)
    found = chi2_contingency([live, reference], correction=False)
    assert two_sample_chi_square(live, reference) == pytest.approx((found.statistic, found.pvalue))
    assert two_sample_chi_square((0, 0), (1, 2)) == (0.0, 1.0)
    assert two_sample_chi_square((5, 0), (7, 0)) == (0.0, 1.0)


def test_wasserstein_as_scipy_has_it_for_many_cuts():
    draw = random.Random(5)
    ours, theirs = [draw.uniform(0, 10) for _ in range(4000)], [draw.uniform(1, 11) for _ in range(4000)]
    cuts = [i / 10 for i in range(111)]

    def counts(values: list[float]) -> list[int]:
        return [sum(a < v <= b for v in values) for a, b in zip([-inf, *cuts], [*cuts, inf], strict=True)]

    found = wasserstein(cuts, counts(ours), counts(theirs))
    assert found == pytest.approx(wasserstein_distance(ours, theirs), abs=0.01)
    assert wasserstein(cuts, [0] * 112, counts(theirs)) == 0


def test_no_bins_have_no_quantile():
    assert index_quantile(0, 10, 10) == 0
    assert index_quantile(10, 10, 1) == 0
