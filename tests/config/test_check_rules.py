"""Rules of checks: the decisions, labels, copies and feedback that they need.

The mark » is at the place that the message must name.
"""

from __future__ import annotations

import pytest

from tests.config.sample import assert_errors, errors, text, unmarked, warnings
from tests.config.whole_files import ALL_USED, whole

DISAGREEMENT = "{strategy: canary, champion: a, challenger: b, checks: {metric: »disagreement, max: 5%}"
DECISIONS = "prediction: {score: s, decision: 0.5}"


def paired(check: str, keys: str, noise: str = ", noise: 5%") -> str:
    rollout = f"{{strategy: canary, champion: a, challenger: b, checks: {{metric: »{check}}}}}"
    mirror = f"mirror: {{to: b, safe: true{noise}}}"
    return f"{{name: r, match: {{path: /}}, split: {{a: 1}}, {mirror}, {keys}, rollout: {rollout}}}"


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (
            f"{{name: r, match: {{path: /}}, split: {{a: 1}}, mirror: {{to: b, safe: true}}, prediction: {{score: s}}, rollout: {DISAGREEMENT}}}}}",
            "rollout.checks.metric: disagreement needs decisions; write prediction: {score: …, decision: …} or prediction: {label: …}",
        ),
        (
            "{name: r, match: {path: /}, split: {a: 1, b: 1}, prediction: {label: l, »decision: 0.5}}",
            'prediction.decision: needs the key "score" too: the number that is compared with the decision',
        ),
        (
            paired("distance, max: 0.05", "retry: {pure: true}"),
            "rollout.checks.metric: distance needs answers that are read; write prediction: {score: …} or prediction: {protocol: auto}",
        ),
        (
            paired("segment_divergence, max: 5%", "prediction: {score: s, segment: [s]}"),
            "rollout.checks.metric: segment_divergence needs decisions; write prediction: {score: …, decision: …} or prediction: {label: …}",
        ),
        (
            paired("segment_divergence, max: 5%", DECISIONS),
            "rollout.checks.metric: segment_divergence needs segments; write segment: […] in the prediction of the route",
        ),
        (
            paired("shadow_latency, quantile: p99, max_ratio: 1.25", DECISIONS, noise=""),
            "rollout.checks.metric: shadow_latency needs second answers of the champion; write mirror: {to: …, sample: …, noise: …} for the challenger",
        ),
    ],
)
def test_comparisons_need_decisions(route: str, expected: str):
    assert_errors(whole(route, ALL_USED), f"routes[0].{expected}")


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (
            "{name: r, match: {path: /}, split: {a: 1}, mirror: [{to: c, safe: true}, {to: b, safe: true, »noise: 5%}]}",
            "mirror[1].noise: has no effect without answers that are read; write prediction: {score: …, decision: …} or prediction: {label: …}",
        ),
        (
            f"{{name: r, match: {{path: /}}, split: {{a: 1}}, mirror: {{to: c, safe: true}}, {DECISIONS}, rollout: {DISAGREEMENT}}}}}",
            "rollout.checks.metric: nothing is compared, since no request is mirrored to the challenger",
        ),
    ],
)
def test_decisions_that_are_not_compared_give_a_warning(route: str, expected: str):
    bare, places = unmarked(whole(route, ALL_USED))
    assert warnings(bare) == [f"{places[0]}: warning: routes[0].{expected}"]


@pytest.mark.parametrize(
    "checks",
    [
        f", mirror: {{to: b, safe: true, noise: 5%}}, rollout: {DISAGREEMENT}}}",
        f", mirror: [{{to: b, safe: true, sample: 0%, noise: 5%}}], rollout: {DISAGREEMENT}}}",
        f", retry: {{pure: true}}, rollout: {DISAGREEMENT}, steps: [{{mirror: 1%}}, {{weight: 1%}}]}}",
        f", retry: {{pure: true}}, rollout: {DISAGREEMENT.replace('canary', 'shadow')}}}",
    ],
)
def test_decisions_that_are_compared_give_no_warning(checks: str):
    bare, _ = unmarked(
        whole(f"{{name: r, match: {{path: /}}, split: {{a: 1}}, {DECISIONS}{checks}}}", ALL_USED)
    )
    assert warnings(bare) == []


LABELS = (
    "rollout: {{strategy: canary, champion: a, challenger: b, checks: [{{metric: {}}}]}}\n    feedback: {{horizon: 1d}}\n"
    "    prediction: {{{}}}"
)


@pytest.mark.parametrize(
    ("check", "prediction", "expected"),
    [
        ("accuracy, min: 0.9", "score: s", ""),
        ("accuracy, min: 90%", "label: l", ""),
        ("accuracy, min_increase: -0.02, name: churned", "protocol: oip_v2", ""),
        ("accuracy, min_increase: -2%", "score: s", ""),
        (
            "accuracy, min_increase: »--2%",
            "score: s",
            'min_increase: must be a share such as 1% or 0.01, not "-2%"',
        ),
        ("brier, max_increase: 0.01", "score: s", ""),
        ("log_loss, max: 6", "score: s", ""),
        ("mae, max: 500", "score: s", ""),
        ("mae, max: 500, range: [0, 1000]", "score: s", ""),
        ("auc, min: 0.7", "protocol: kserve_v1", ""),
        ("»auc, min: 0.7", "label: l", "metric: auc needs a prediction; write prediction: {score: …}"),
        (
            "brier, max: »1.5",
            "score: s",
            "max: must be between 0 and 1, as numbers from 0 to 1 never break another limit",
        ),
        (
            "accuracy, min: »100%",
            "score: s",
            "min: must be between 0 and 1, as numbers from 0 to 1 never break another limit",
        ),
        (
            "log_loss, min_increase: »-7",
            "score: s",
            "min_increase: must be between -6.907755279 and 6.907755279, as numbers from 0 to 6.907755279 never break another limit",
        ),
        ("auc, min: 0.5, »range: [0, 1]", "score: s", 'range: auc does not take the key "range"'),
        ("mae, min: 0.5, »missing: 0", "score: s", 'missing: mae does not take the key "missing"'),
        (
            "accuracy, »max_ratio: 2",
            "score: s",
            "max_ratio: accuracy takes the bound min_increase, min, max_increase or max, not max_ratio",
        ),
    ],
)
def test_checks_of_labels(check: str, prediction: str, expected: str):
    written = text(route=LABELS.format(check, prediction))
    if expected:
        assert_errors(written, f"routes[0].rollout.checks[0].{expected}")
    else:
        assert errors(written) == []


@pytest.mark.parametrize(
    ("check", "answers"),
    [("mae, max: 5", False), ("mae, max: 5, range: [0, 9]", True), ("brier, max_increase: 0.1", True)],
)
def test_labels_of_mirrored_pairs_answer_a_mirror_step(check: str, answers: bool):
    written = (
        LABELS.format(check, "score: s").replace("strategy: canary", "strategy: shadow")
        + "\n    retry: {pure: true}"
    )
    found = [said for said in errors(text(route=written)) if "mirror steps need a check" in said]
    assert bool(found) is not answers


@pytest.mark.parametrize(
    ("slo", "check", "answers"),
    [
        ("slo: batch\n    ", "error_rate, max_increase: 1%", True),
        ("", "error_rate, max_increase: 1%", False),
        ("slo: batch\n    ", "latency, quantile: p99, max_ratio: 2", False),
    ],
)
def test_the_class_of_latency_is_a_check_of_mirror_steps_where_no_check_is_of_latency(
    slo: str, check: str, answers: bool
):
    written = text(
        route=slo + LABELS.format(check, "score: s").replace("canary", "shadow") + "\n    retry: {pure: true}"
    )
    found = errors(written)
    assert [("mirror steps need a check" in said) for said in found] == [True] * (not answers)


@pytest.mark.parametrize("metric", ["kpi, name: k, min: 1", "accuracy, min: 0.9"])
def test_a_check_of_feedback_on_a_route_without_feedback_gives_a_warning(metric: str):
    rollout = f"rollout: {{strategy: canary, champion: a, challenger: b, checks: [{{metric: {metric}}}]}}\n    prediction: {{score: s}}"
    (warning,) = warnings(text(route=rollout))
    assert warning.endswith(
        f"metric: {metric.partition(',')[0]} needs feedback; without feedback: {{horizon: …}} on this route the check is never "
        "decided, and holds this rollout for ever"
    )
    with_feedback = warnings(text(route=rollout + "\n    feedback: {horizon: 1d}"))
    assert [said for said in with_feedback if "for ever" in said] == []
