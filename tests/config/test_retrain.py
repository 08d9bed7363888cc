from __future__ import annotations

import pytest

from crossfade.config.retrain import RetrainConfig
from tests.config.sample import assert_errors, route, text, warnings

HOOK = "webhook: 'http://h'"


def retrain(written: str, more: str = "") -> RetrainConfig:
    found = route(f"retrain: {written}{more}").retrain
    assert found is not None
    return found


def test_the_defaults():
    found = retrain(f"{{{HOOK}}}")
    assert (found.drifts, found.schedule, found.cooldown) == (frozenset(), None, 86_400.0)
    assert (found.attempts, found.attempt_timeout, found.api) == (10, 30.0, None)
    assert retrain("{command: train}").attempt_timeout == 6 * 3600.0
    assert retrain("{command: [train, --now]}").command == ("train", "--now")


@pytest.mark.parametrize(
    ("on", "drifts", "schedule"),
    [
        ("data_drift", {"data_drift"}, None),
        ("{schedule: 7d}", set(), 604_800.0),
        ("[data_drift, concept_drift, schedule: 12h]", {"data_drift", "concept_drift"}, 43_200.0),
    ],
)
def test_occasions(on: str, drifts: set[str], schedule: float | None):
    found = retrain(f"{{on: {on}, {HOOK}}}", "\n    feedback: {horizon: 1d}")
    assert (set(found.drifts), found.schedule) == (drifts, schedule)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("»retrain: {on: data_drift}", 'routes[0].retrain: needs the key "webhook" or "command"'),
        (
            "retrain: {webhook: 'http://h', »command: train}",
            "routes[0].retrain.command: only one of webhook and command can be given",
        ),
        (
            "retrain: {on: [»dat_drift], webhook: 'http://h'}",
            'routes[0].retrain.on[0]: must be data_drift, concept_drift or schedule: 7d, not "dat_drift"; did you mean "data_drift"?',
        ),
        (
            "retrain: {on: »[data_drift, data_drift], webhook: 'http://h'}",
            "routes[0].retrain.on: must name each occasion once",
        ),
        (
            "retrain: {on: »concept_drift, webhook: 'http://h'}",
            'routes[0].retrain.on: concept_drift needs labels: the key "feedback" of the route',
        ),
        (
            "retrain: {webhook: 'http://h', secret: »short}",
            "routes[0].retrain.secret: must be at least 16 characters long, such as from openssl rand -hex 32",
        ),
        ("retrain: {webhook: »'hooks/7f3a'}", "routes[0].retrain.webhook: must be a URL such as https://example.com/hook"),
        ("retrain: {command: »[]}", "routes[0].retrain.command: must not be empty"),
        ("retrain: {command: t, attempts: »0}", "routes[0].retrain.attempts: must be at least 1, not 0"),
    ],
)  # fmt: skip
def test_errors(written: str, message: str):
    assert_errors(text(route=written), message)


def test_warnings():
    secret = "secret: 0123456789abcdef"
    assert warnings(text(route=f"retrain: {{command: t, {secret}}}")) == [
        "9:27: warning: routes[0].retrain.secret: has no effect, since nothing is posted to a webhook"
    ]
    assert warnings(text(route=f"retrain: {{{HOOK}, {secret}}}")) == []
