"""Which rule of a policy a request follows."""

from __future__ import annotations

from crossfade.rollout.policy import PolicyRule, matching


def test_the_first_rule_that_matches_counts():
    german, all_others = PolicyRule(0, "DE", {"v3": 1.0}), PolicyRule(None, "", {"v2": 1.0})
    pro = PolicyRule(1, "pro", {"v4": 1.0})
    assert matching([german, all_others], ("DE",)) is german
    assert matching([german, all_others], ("FR",)) is all_others
    assert matching([german, all_others], None) is all_others
    assert matching([german, pro], ("DE", "pro")) is german
    assert matching([german, pro], ("FR", "pro")) is pro
    assert matching([german, pro], ("FR",)) is None
    assert matching([german], None) is None
