"""The profile that a version ships: the proxy reads it, and it is what the proxy makes of the same rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crossfade.quality.profile import NumberField, read_profile
from crossfade.quality.profiling import number_field as of_the_proxy
from crossfade_backends.data import AMOUNT, FEATURES, draw_sample, split_sample
from crossfade_backends.profile import PROFILE_FILE, SAMPLED, number_field
from crossfade_backends.train import train_registry


@pytest.fixture
def profiles(registry):
    return {
        version: read_profile((registry / "churn" / version / PROFILE_FILE).read_bytes())
        for version in ("v2", "v3", "v4")
    }


def test_each_version_ships_a_profile_that_the_proxy_reads(profiles, versions):
    for version, profile in profiles.items():
        assert profile.name == f"churn {version}"
        assert tuple(profile.fields) == FEATURES
        assert profile.score is not None and profile.score.n == versions[version].metrics.n
        assert profile.loss == pytest.approx(versions[version].metrics.brier)
        assert (len(profile.sample), profile.columns) == (SAMPLED, FEATURES)


@pytest.mark.parametrize("column", range(len(FEATURES)))
def test_a_field_is_what_the_proxy_makes_of_the_same_values(column):
    values = draw_sample(1237, 5).features[:, column]
    found = number_field(values)
    expected = of_the_proxy(values.tolist(), 0, 0)
    del found["type"]
    made = NumberField(**{**found, "cuts": tuple(found["cuts"]), "counts": tuple(found["counts"])})
    assert made == expected


def test_one_value_has_one_cut():
    assert number_field(np.array([2.0]))["counts"] == [1, 0]


def test_the_profile_of_v4_says_that_it_was_trained_on_cents(profiles):
    right, wrong = (profiles[version].fields[FEATURES[AMOUNT]] for version in ("v3", "v4"))
    assert wrong.high == pytest.approx(100 * right.high)


def test_a_version_without_a_profile_is_trained_again(tmp_path):
    train_registry(tmp_path, 800, 3)
    path = tmp_path / "churn" / "v3" / PROFILE_FILE
    path.unlink()
    assert train_registry(tmp_path, 800, 3)[1]
    train, _ = split_sample(draw_sample(800, 3))
    assert json.loads(path.read_bytes())["rows"] == len(train.features)
    assert not train_registry(tmp_path, 800, 3)[1]
