"""`drift` of a route: its values, and what it needs."""

from __future__ import annotations

import textwrap

import pytest

from crossfade.config import drift
from crossfade.config.drift import DriftConfig
from crossfade.config.load import load
from crossfade.config.problem import ConfigError

FILE = """\
listen: 127.0.0.1:0
backends:
  v2: {{endpoints: "http://127.0.0.1:9002"}}
  v3: {{endpoints: "http://127.0.0.1:9003"}}
routes:
  - name: churn
    split: {{v2: 100%}}
    prediction: {{score: p}}
    drift: {drift}
    rollout: {{strategy: canary, champion: v2, challenger: v3, checks: {checks}}}
"""
CHECKS = "[{metric: error_rate, max: 5%}]"


def loaded(given: str, checks: str = CHECKS) -> DriftConfig:
    found = load(FILE.format(drift=given, checks=checks), "routing.yaml", {}).config.routes[0].drift
    assert found is not None
    return found


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as found:
        load(textwrap.dedent(text), "routing.yaml", {})
    return [str(problem) for problem in found.value.problems if problem.severity == "error"]


def test_the_defaults_compare_all_fields_with_live_traffic_each_hour():
    found = loaded("{}")
    assert (found.baseline, found.fields, found.window, found.tolerance) == ("live", (), 3600.0, 0.05)
    assert (found.rows, found.together, found.loss_tolerance) == (10_000, False, 0.05)


def test_a_profile_may_be_named_for_each_backend():
    assert loaded("{baseline: {v2: a.json, v3: b.json}}").baseline == {"v2": "a.json", "v3": "b.json"}
    assert loaded("{baseline: a.json, fields: age}").fields == ("age",)


BAD = {
    "no backend": ("{baseline: {v9: a.json}}", 'baseline.v9: no backend is named "v9"'),
    "no path": ("{baseline: {}}", "baseline: must be live, the path of a profile, or a path for each backend"),
    "empty path": ("{baseline: ''}", "baseline: must not be empty"),
    "fields twice": ("{fields: [a, a]}", "fields: must name each field once"),
    "tolerance": ("{tolerance: 60%}", "tolerance: must be at most 0.5"),
    "no tolerance": ("{tolerance: 0}", "tolerance: must be more than 0"),
    "short window": ("{window: 10ms}", "window: must be at least 1"),
    "few rows": ("{rows: 5}", "rows: must be at least 100"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said(case):
    given, message = BAD[case]
    (found,) = problems(FILE.format(drift=given, checks=CHECKS))
    assert f"routes[0].drift.{message}" in found


def test_answers_must_be_read():
    (found,) = problems(FILE.format(drift="{}", checks=CHECKS).replace("    prediction: {score: p}\n", ""))
    assert "routes[0].drift: needs answers that are read" in found


def test_checks_of_drift_need_a_profile():
    text = FILE.format(
        drift="{}", checks="[{metric: data_drift, max: 5%}, {metric: score_drift, max: 10%, then: hold}]"
    )
    assert load(text, "routing.yaml", {}).config.routes[0].rollout[0].checks[1].then == "hold"
    first, second = problems(text.replace("    drift: {}\n", ""))
    assert "rollout.checks[0].metric: data_drift needs a profile; write drift: {baseline: …}" in first
    assert "score_drift needs a profile" in second


BAD_CHECKS = {
    "{metric: data_drift, min: 5%}": "data_drift takes the bound max, not min",
    "{metric: error_rate, max: 5%, then: hold}": 'error_rate does not take the key "then"',
    "{metric: data_drift, max: 5%, then: pause}": "must be hold or abort",
}


@pytest.mark.parametrize("check", BAD_CHECKS)
def test_what_is_wrong_with_a_check_is_said(check):
    found = problems(FILE.format(drift="{}", checks=f"[{check}]"))
    assert any(BAD_CHECKS[check] in problem for problem in found), found


def test_the_test_of_all_fields_needs_its_package(monkeypatch):
    monkeypatch.setattr(drift, "has_scikit_learn", lambda: False)
    (found,) = problems(FILE.format(drift="{together: true}", checks=CHECKS))
    assert "drift.together: needs the package scikit-learn" in found
