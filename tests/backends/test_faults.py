"""The random draws of the faults, without a server."""

from __future__ import annotations

import json
import random
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crossfade_backends.faults import Ending, FaultDraw, Faults, FaultSwitch, draw_ending, draw_faults


def faults(**fields: Any) -> Faults:
    return Faults.model_validate_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("latency", "expected_median"),
    [
        ({"distribution": "constant", "mean_ms": 40}, 0.040),
        ({"distribution": "uniform", "mean_ms": 40, "spread_ms": 30}, 0.040),
        ({"distribution": "exponential", "mean_ms": 40}, 0.040 * 0.693),
        ({"distribution": "lognormal", "mean_ms": 40, "sigma": 0.8}, 0.040 * 0.726),
    ],
)
def test_latency_has_the_expected_mean_and_median_in_seconds(latency, expected_median):
    generator = random.Random(1)
    delays = [draw_faults(faults(latency=latency), generator).delay for _ in range(20_000)]
    assert fmean(delays) == pytest.approx(0.040, rel=0.03)
    assert median(delays) == pytest.approx(expected_median, rel=0.03)
    assert min(delays) >= 0


def test_uniform_latency_stays_within_its_spread():
    generator = random.Random(2)
    spread = faults(latency={"distribution": "uniform", "mean_ms": 10, "spread_ms": 4})
    delays = [draw_faults(spread, generator).delay for _ in range(1_000)]
    assert 0.006 <= min(delays) < 0.0062
    assert 0.0138 < max(delays) <= 0.014


def test_endings_are_exclusive_and_have_their_shares():
    generator = random.Random(3)
    mixed = faults(error_share=0.2, hang=0.1, cut=0.3, wrong_scores=0.25)
    draws = [draw_faults(mixed, generator) for _ in range(20_000)]
    endings = [draw.ending for draw in draws]
    for ending, share in zip(Ending, (0.4, 0.2, 0.1, 0.3), strict=True):
        assert endings.count(ending) / len(endings) == pytest.approx(share, abs=0.015)
    assert fmean(draw.wrong for draw in draws) == pytest.approx(0.25, abs=0.015)


@given(st.floats(0, 1, exclude_max=True))
def test_a_share_of_0_or_1_does_not_depend_on_the_draw(draw):
    assert draw_ending(Faults(), draw) is Ending.ANSWER
    assert draw_ending(faults(error_share=1), draw) is Ending.ERROR
    assert draw_ending(faults(hang=1), draw) is Ending.HANG
    assert draw_ending(faults(cut=True), draw) is Ending.CUT


def test_the_same_seed_gives_the_same_draws():
    settings = faults(
        error_share=0.3, cut=0.3, wrong_scores=0.5, latency={"distribution": "exponential", "mean_ms": 5}
    )
    draws = []
    for seed in (5, 5, 6):
        switch = FaultSwitch(seed)
        switch.replace(settings)
        draws.append([switch.draw() for _ in range(50)])
    assert draws[0] == draws[1] != draws[2]


SCORES = np.array([0.0, 0.25, 0.9])


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (FaultDraw(Ending.ANSWER), [0.0, 0.25, 0.9]),
        (FaultDraw(Ending.ANSWER, shift=0.2), [0.0, 0.25, 0.9]),
        (FaultDraw(Ending.ANSWER, wrong=True), [1.0, 0.75, 0.1]),
        (FaultDraw(Ending.ANSWER, wrong=True, shift=0.2), [0.2, 0.45, 1.0]),
        (FaultDraw(Ending.ANSWER, wrong=True, shift=-0.5), [0.0, 0.0, 0.4]),
    ],
)
def test_wrong_scores_are_inverted_or_shifted_within_bounds(draw, expected):
    assert draw.distort(SCORES).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"error_share": 1.1}, "error_share"),
        ({"error_share": -0.1}, "error_share"),
        ({"hang": "1"}, "hang"),
        ({"error_status": 200}, "error_status"),
        ({"error_status": 600}, "error_status"),
        ({"score_shift": 2}, "score_shift"),
        ({"unhealthy": 1}, "unhealthy"),
        ({"eror_share": 0.1}, "eror_share"),
        ({"error_share": 0.5, "hang": 0.3, "cut": 0.3}, "add up to 1.1"),
        ({"latency": {"mean_ms": 1}}, "distribution"),
        ({"latency": {"distribution": "normal", "mean_ms": 1}}, "'normal'"),
        ({"latency": {"distribution": "constant"}}, "latency.constant.mean_ms"),
        ({"latency": {"distribution": "constant", "mean_ms": 0}}, "latency.constant.mean_ms"),
        ({"latency": {"distribution": "constant", "mean_ms": 1, "sigma": 1}}, "latency.constant.sigma"),
        ({"latency": {"distribution": "lognormal", "mean_ms": 1}}, "latency.lognormal.sigma"),
        ({"latency": {"distribution": "uniform", "mean_ms": 1, "spread_ms": 2}}, "spread_ms is larger"),
    ],
)
def test_the_error_for_invalid_faults_names_the_field(fields, where):
    with pytest.raises(ValidationError) as invalid:
        faults(**fields)
    assert where in str(invalid.value)


def test_shares_that_exceed_1_only_by_rounding_are_accepted():
    assert faults(error_share=0.1, hang=0.2, cut=0.7).cut == 0.7
