"""Which requests may be copied: a copy of a request that changes something changes it twice."""

from __future__ import annotations

import pytest

from tests.config.sample import assert_errors, errors, rollout, text

CHECKS = "checks: [{metric: error_rate, max: 0.01}]"
SHADOW = f"rollout: {{strategy: %s, champion: a, challenger: b, {CHECKS}%s}}"
STEPS = ", steps: [{weight: 0%}, {»mirror: 5%}, {weight: 5%}]"
ANY = 'requests with any method may change something, and "b" gets copies of them'
HERE = "needs safe: true, or retry: {pure: true} on the route: "
BY_STEPS = "needs retry: {pure: true} on the route, or mirror: {to: b, sample: 0%, safe: true}: "


def written(route: str) -> str:
    return text(split="{a: 1}", route=route)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("mirror: »{to: b}", f"mirror: {HERE}{ANY}"),
        ("mirror: [{to: b, safe: true}, »{to: b, safe: false, sample: 1%}]", f"mirror[1]: {HERE}{ANY}"),
        ("mirror: »{to: b}\n    retry: {pure: false}", f"mirror: {HERE}{ANY}"),
        ("mirror: »{to: b}\n    match: {methods: [GET, PUT, POST]}", f"mirror: {HERE}{ANY.replace('any method', 'PUT or POST')}"),
        ("mirror: »{to: b}\n    match: {methods: POST}", f"mirror: {HERE}{ANY.replace('any method', 'POST')}"),
        (SHADOW.replace("strategy", "»strategy") % ("shadow", ""), f"rollout.strategy: {BY_STEPS}{ANY}"),
        (SHADOW % ("canary", STEPS), f"rollout.steps[1].mirror: {BY_STEPS}{ANY}"),
        ("mirror: »{to: b, sample: 0%}\n    " + SHADOW % ("shadow", ""), f"mirror: {HERE}{ANY}"),
    ],
)  # fmt: skip
def test_requests_that_may_change_something_need_a_word_of_the_operator(route: str, expected: str):
    assert_errors(written(route), f"routes[0].{expected}")


@pytest.mark.parametrize(
    "route",
    [
        "mirror: {to: b, safe: true}",
        "mirror: [{to: b}]\n    retry: {pure: true}",
        "mirror: [{to: b}]\n    match: {methods: [GET, HEAD, OPTIONS, TRACE]}",
        "mirror: [{to: b, sample: 0%}]",
        "mirror: {to: b, sample: 0%, safe: true}\n    " + SHADOW % ("shadow", ""),
        "retry: {pure: true}\n    " + SHADOW % ("canary", STEPS.replace("»", "")),
        "match: {methods: GET}\n    " + SHADOW % ("canary", STEPS.replace("»", "")),
        SHADOW % ("canary", ", steps: [{mirror: 0%, weight: 1%}]"),
    ],
)
def test_requests_that_change_nothing_are_copied_without(route: str):
    assert errors(written(route)) == []


def test_a_broken_value_is_reported_once():
    found = errors(written("mirror: {to: b, sample: much}\n    match: {methods: [get]}"))
    assert [error.partition(" ")[2].partition(":")[0] for error in found] == [
        "routes[0].mirror.sample",
        "routes[0].match.methods[0]",
    ]
    assert errors(text(route=rollout(challenger="[x]", strategy="shadow"))) != []
