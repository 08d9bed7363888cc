from __future__ import annotations

import pytest

from crossfade.config.pending import PENDING
from tests.config.sample import text, warnings

ROLLOUT = "rollout: {strategy: %s, champion: a, challenger: b, checks: [{metric: %s}]}"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ({"route": "notify: {webhook: 'http://h'}"}, "9:5: warning: routes[0].notify: not supported yet, so it has no effect"),
    ],
)  # fmt: skip
def test_an_unsupported_key_gives_a_warning(key: dict[str, str], expected: str):
    assert warnings(text(**key)) == [expected]


@pytest.mark.parametrize(
    "key",
    [
        {"top": "trusted_proxies: [10.0.0.0/8]"},
        {"top": "state: sqlite:x"},
        {"route": "limits: {rate: {key: client_ip, per_second: 1, burst: 1}}"},
        {"route": "prediction:"},
        {"route": "prediction: {score: a.b}"},
        {"route": "prediction: {protocol: json, score: s}"},
        {"route": "prediction: {protocol: openai, segment: [l], ignore: [i], redact: [r], sample: 5%}"},
        {"route": "prediction: {score: s, sample: 100%}"},
        {"route": "prediction: {score: s, decision: 0.5, label: l}"},
        {"split": "{a: 1}", "route": "mirror: {to: b, safe: true, noise: 5%}\n    prediction: {label: l}"},
        {"route": "notify: []"},
        {"route": "feedback: {horizon: 1d}"},
        {"split": "{a: 1}", "route": "mirror: {to: b, safe: true, noise: 0%}"},
        {"route": ROLLOUT % ("blue_green", "latency, quantile: p99, max: 1s")},
        {"route": ROLLOUT % ("shadow", "error_rate, max: 1%") + "\n    retry: {pure: true}"},
        {"route": ROLLOUT % ("ab_test", "error_rate, max_increase: 1%")},
        {"route": ROLLOUT % ("canary", "requests, min: 5")},
    ],
)
def test_a_supported_or_empty_key_gives_no_warning(key: dict[str, str]):
    assert warnings(text(**key)) == []


def test_each_place_is_in_the_table_once():
    assert len({pending.place for pending in PENDING}) == len(PENDING)
