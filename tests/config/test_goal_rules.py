"""`primary` of a rollout: it needs a check that compares with the champion."""

from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.config.problem import ConfigError
from crossfade.rollout.plan import Goal
from crossfade.rollout.strategy import expand

HEAD = """
listen: 127.0.0.1:0
backends:
  v2: {endpoints: [http://127.0.0.1:9002]}
  v3: {endpoints: [http://127.0.0.1:9003]}
routes:
  - name: churn
    match: {path: /predict}
    split: {v2: 100%}
    prediction: {score: p, decision: 0.5}
    rollout:
      strategy: ab_test
      champion: v2
      challenger: v3
"""
CHECKS = """      checks:
        - {metric: kpi, name: conversion, min: 0.1}
        - {metric: kpi, name: conversion, kind: event, min_increase: 0}
        - {metric: kpi, name: revenue, max: 7}
        - {metric: error_rate, max: 5%}
"""


def goal_of(text: str) -> Goal | None:
    return expand(load(HEAD + text, "routing.yaml", {}).config.routes[0].rollout[0]).primary


def errors_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(HEAD + text, "routing.yaml", {})
    errors = [p for p in caught.value.problems if p.severity == "error"]
    return [f"{p.path}: {p.message}{f' ({p.suggestion})' if p.suggestion else ''}" for p in errors]


def test_without_it_there_is_no_goal():
    assert goal_of(CHECKS) is None
    assert goal_of("") is None


def test_it_is_the_check_that_compares():
    title = "kpi conversion (event) >= champion + 0"
    assert goal_of(CHECKS + "      primary: conversion\n") == Goal(title, 0.05)
    more = "      primary: conversion\n      min_lift: 2%\n      min_effect: 1%\n      better: lower\n      act: true\n"
    assert goal_of(CHECKS + more) == Goal(title, 0.02, True, 0.01, True)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("      primary: converzion\n", 'called "converzion" (conversion)'),
        (
            "      primary: clicks\n",
            'no check of this rollout is of a kpi or a metric of labels called "clicks"',
        ),
        ("      primary: revenue\n", "needs a check with min_increase or max_increase"),
        ("      primary: auc\n", "auc has no lift"),
        ("      min_lift: 5%\n", 'has no effect without the key "primary"'),
        ("      min_effect: 5%\n", 'has no effect without the key "primary"'),
        ("      better: lower\n", 'has no effect without the key "primary"'),
        ("      act: true\n", 'has no effect without the key "primary"'),
    ],
)
def test_what_says_nothing_is_an_error(text, error):
    (found,) = errors_of(CHECKS + text)
    assert error in found
    assert found.startswith("routes[0].rollout.")


@pytest.mark.parametrize(
    "text",
    ["      primary: conversion\n      better: more\n", "      primary: conversion\n      min_effect: 0%\n"],
)
def test_values_are_checked(text):
    assert errors_of(CHECKS + text)


def test_without_checks_there_is_nothing_to_go_by():
    (found,) = errors_of("      primary: conversion\n")
    assert "no check of this rollout" in found


def test_metrics_of_labels_can_be_gone_by():
    checks = "      checks: [{metric: accuracy, min_increase: -0.01}, {metric: brier, max_increase: 0.01}]\n"
    feedback = "      primary: accuracy\n"
    found = goal_of(checks + feedback)
    assert found is not None
    assert (found.title.split()[0], found.lower) == ("accuracy", False)
    found = goal_of(checks + "      primary: brier\n")
    assert found is not None
    assert (found.title.split()[0], found.lower) == ("brier", True)
