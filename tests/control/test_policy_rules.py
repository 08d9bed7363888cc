"""Policies as they are written, and what share each backend gets by them."""

from __future__ import annotations

import pytest

from crossfade.config.problem import BadValue
from crossfade.control.policy_rules import parse_rule, rule_of
from crossfade.rollout.policy import PolicyRule

SEGMENTS = ("country", "plan")
PRESENT = {"v2": 6000, "v3": 1000, "v4": 3000}


def shares(text: str, present: dict[str, int] = PRESENT) -> dict[str, float]:
    return dict(rule_of(parse_rule(text), SEGMENTS, present).shares)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v3=100%", {"v3": 1.0}),
        ("v3=50%", {"v3": 0.5, "v2": 1 / 3, "v4": 1 / 6}),  # the others as 2 : 1, as they are now
        ("v2=50% v3=50%", {"v2": 0.5, "v3": 0.5}),
        ("v2=50%,v3=50%", {"v2": 0.5, "v3": 0.5}),
        ("v2=3 v3=1", {"v2": 0.75, "v3": 0.25}),
        ("country=DE: v3=100%", {"v3": 1.0}),
    ],
)
def test_what_is_left_goes_to_the_others_in_proportion(text, expected):
    assert shares(text) == pytest.approx(expected)
    assert sum(shares(text).values()) == pytest.approx(1)


def test_a_rule_names_its_segment():
    assert rule_of(parse_rule("plan = pro : v3=100%"), SEGMENTS, PRESENT) == PolicyRule(1, "pro", {"v3": 1.0})
    assert rule_of(parse_rule("plan=: v3=100%"), SEGMENTS, PRESENT) == PolicyRule(1, "", {"v3": 1.0})
    assert rule_of(parse_rule("Country=DE: v3=100%"), SEGMENTS, PRESENT).place == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at least one backend"),
        ("v3", "each backend once"),
        ("v3=50% v3=10%", "each backend once"),
        ("v3=half", "a percentage such as 5%"),
        ("country: v3=100%", "begin with a segment"),
        ("city=Rome: v3=100%", "the route has country, plan"),
        ("v3=60% v2=60%", "at most 100%"),
        ("v3=50% v2=1", "not both"),
        ("v3=0", "above 0"),
    ],
)
def test_what_is_no_rule_is_refused(text, reason):
    with pytest.raises(BadValue) as caught:
        rule_of(parse_rule(text), SEGMENTS, PRESENT)
    assert reason in str(caught.value)


def test_a_rest_needs_somebody_to_get_it():
    with pytest.raises(BadValue) as caught:
        shares("v3=50%", {"v3": 10_000})
    assert "no other backend" in str(caught.value)
