"""`feedback` as written."""

from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.config.route import FeedbackConfig
from tests.config.sample import assert_errors, errors, text

READ = "needs answers that are read; write prediction: {score: …} or prediction: {protocol: auto}"


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("feedback: {horizon: 1d, »inputs: true}", f"inputs: {READ}"),
        ("feedback: {horizon: 1d, »inputs: true}\n    prediction: {segment: s}", f"inputs: {READ}"),
        ("feedback: {horizon: »0s}", "horizon: must be more than 0"),
        ("feedback: {horizon: 1d, keep: »9m}", "keep: must be at least 600, not 540"),
        ("feedback: {horizon: 1d, max: »1KiB}", "max: must be at least 1048576, not 1024"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(route: str, expected: str) -> None:
    assert_errors(text(route=route), f"routes[0].feedback.{expected}")


@pytest.mark.parametrize(
    "route",
    [
        "feedback: {horizon: 1d, inputs: false}",
        "feedback: {horizon: 1d, inputs: true}\n    prediction: {label: l}",
        "feedback: {horizon: 1d, inputs: true}\n    prediction: {protocol: auto}",
    ],
)
def test_inputs_need_answers_that_are_read(route: str) -> None:
    assert errors(text(route=route)) == []


def test_what_is_not_given_is_a_month_and_two_gigabytes() -> None:
    (route,) = load(text(route="feedback: {horizon: 7d}"), "routing.yaml", {}).config.routes
    assert route.feedback == FeedbackConfig(
        horizon=7 * 86_400.0, correct_within=86_400.0, keep=30 * 86_400.0, max=2 << 30, inputs=False
    )
