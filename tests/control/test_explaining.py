"""Explanations by a file: rollouts with their steps, assigned ids, preflights, and what a running proxy knows besides."""

from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.control.explaining import Explaining, explain_by_file, without_variables
from crossfade.control.views import Verb
from crossfade.routing.explanation import AskedRequest, Explanation
from tests.control.harness import CANARY, HEAD, Harness

NOW = 1_700_000_000.0
BODY = '{"customer_id": 1}'
VISITORS = """
  - name: page
    match: {path: /page}
    sticky: [{assign: {cookie: cf_id, max_age: 30d}}]
    split: {v2: 50%, v3: 50%}
    cors: {origins: ["https://app.example.com"]}
"""


def by_file(target: str, **fields: object) -> Explanation:
    loaded = load(HEAD + CANARY + VISITORS + "cookie_secrets: [" + "k" * 32 + "]\n", "routing.yaml", {})
    return explain_by_file(loaded, AskedRequest(target, **fields), NOW)  # type: ignore[arg-type]


def test_a_key_of_the_champion_moves_in_a_step_of_the_rollout_or_at_the_promote() -> None:
    steps = set()
    for customer in range(60):
        found = by_file("/predict", method="POST", body=f'{{"customer_id": {customer}}}')
        assert (found.backend, found.role, found.fallback) == ("v2", "champion", "v2")
        (move,) = found.moves
        share = move.weights[move.to]
        assert (move.to, move.step) == ("v3", 0 if share <= 0.05 else 1 if share <= 0.5 else None)
        steps.add(move.step)
    assert steps == {0, 1, None}


def test_an_assigned_id_is_the_key_only_if_its_cookie_is_valid() -> None:
    new = by_file("/page", headers={"Cookie": "cf_id=forged.1.x"})
    assert (new.how, new.keys[0].source, new.keys[0].found) == ("draw", "assign:cf_id", None)
    assert "new id in a cookie" in new.because[-1]


def test_a_preflight_is_answered_by_the_proxy() -> None:
    headers: dict[str, str | list[str]] = {
        "Origin": "https://app.example.com",
        "Access-Control-Request-Method": "GET",
    }
    found = by_file("/page", method="OPTIONS", headers=headers)
    assert (found.route, found.how, found.backend) == ("page", "preflight", None)


@pytest.fixture
async def harness() -> Harness:
    harness = Harness()
    await harness.load()
    await harness.tick()
    return harness


async def test_a_running_proxy_explains_by_its_state(harness: Harness) -> None:
    controller = harness.controller
    explaining = Explaining(controller.state, controller.publisher)
    asked = AskedRequest("/predict", "POST", body=BODY)
    before = await explaining.explain(asked, NOW)
    assert (before.backend, before.endpoints[0].state) == ("v2", "up")
    await controller.command("churn", Verb.PROMOTE, "test", harness.now)
    controller.endpoints_changed(frozenset({("v3", "127.0.0.1:9003")}), harness.now)
    after = await explaining.explain(asked, NOW)
    assert (after.backend, after.role, after.endpoints[0].state) == ("v3", "champion", "down")
    assert after.ledger_version is not None and before.ledger_version is not None
    assert after.ledger_version > before.ledger_version
    assert after.moves == [] or after.moves[0].step is None  # no challenger is on trial
    harness.store.close()


def test_a_path_that_comes_from_a_variable_is_not_shown() -> None:
    text = """
listen: :80
backends:
  a: {endpoints: "http://a:1/base", request: {path: {replace: "/infer/${PLACE}"}}}
  b: {endpoints: "http://b:1", request: {path: {regex: {pattern: "/(.*)", substitution: '/v/${PLACE}/\\1/end'}}}}
routes: [{name: r, split: {a: 50%, b: 50%}, mirror: [{to: b, safe: true, path: {prefix: "/copy/${PLACE}"}}]}]
"""
    loaded = load(text, "routing.yaml", {"PLACE": "s3cret"})
    found = explain_by_file(loaded, AskedRequest("/x?q=1"), NOW)
    assert [e.target for e in found.endpoints] == ["/base/infer/s3cret?q=1", "/v/s3cret/x/end?q=1"]
    without_variables(found, loaded.config.from_variables)
    assert [e.target for e in found.endpoints] == ["/base/***?q=1", "/***x/***?q=1"]
    assert [m.target for m in found.mirrors] == ["/***/x?q=1"]
