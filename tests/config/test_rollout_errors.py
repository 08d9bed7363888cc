"""Errors of rollouts: keys, checks, steps, and several rollouts of a route.

The mark » is at the place that the message must name.
"""

from __future__ import annotations

import pytest

from tests.config.sample import assert_errors, errors, loaded, rollout, text


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("on_undecided: »wait", 'routes[0].rollout.on_undecided: must be pause, abort or advance, not "wait"'),
        ("alpha: »60%", "routes[0].rollout.alpha: must be at most 0.5, not 0.6"),
        ("alpha: »0", "routes[0].rollout.alpha: must be more than 0"),
        ("advance_early: »60%", "routes[0].rollout.advance_early: must be at most 0.5, not 0.6"),
        ("min_requests: »0", "routes[0].rollout.min_requests: must be at least 1, not 0"),
        ("»fuse: ", "routes[0].rollout.fuse: must be a mapping or false, not empty"),
        ("fuse: {of_last: »513}", "routes[0].rollout.fuse.of_last: must be at most 512, not 513"),
        ("fuse: {error_share: »0}", "routes[0].rollout.fuse.error_share: must be more than 0"),
        ("steps: [»{hold: 1h}]", 'routes[0].rollout.steps[0]: needs the key "weight" or "mirror"'),
        ("steps: »{weight: 5%}", "routes[0].rollout.steps: must be a list, not a mapping"),
        ("steps: [{weight: »101%}]", 'routes[0].rollout.steps[0].weight: must be at most 100% (which is 1), not "101%"'),
        ("steps: [{weight: »0.001%}]", 'routes[0].rollout.steps[0].weight: must be a multiple of 0.01%, "0.001%" is finer'),
        ("steps: [{weight: 1%}, {weight: 5%}, {weight: »5%}]", "routes[0].rollout.steps[2].weight: must be more than the step before, which has the weight 5%"),
        ("steps: [{weight: 5%}, {weight: »1%}, {weight: 3%}, {weight: 6%}]", "routes[0].rollout.steps[1].weight: must be more than the step before, which has the weight 5%"),
        ("watch: »soon", 'routes[0].rollout.watch: must be a duration such as 250ms, 2s, 24h or 1m30s, not "soon"'),
        ("»watch: {holdback: 2%}", 'routes[0].rollout.watch: the key "for" is missing'),
        ("watch: {for: »0s, holdback: 2%}", "routes[0].rollout.watch.for: must be more than 0"),
        ("watch: {for: 24h, holdback: »60%}", "routes[0].rollout.watch.holdback: must be at most 50%, not 60%"),
        ("watch: {for: 24h, holdback: »0.001%}", 'routes[0].rollout.watch.holdback: must be a multiple of 0.01%, "0.001%" is finer'),
        ("watch: {for: 24h, »holdbck: 2%}", 'routes[0].rollout.watch.holdbck: unknown key "holdbck"; did you mean "holdback"?'),
        ("steps: [{weight: 99%}], watch: {for: 24h, holdback: »2%}", "routes[0].rollout.watch.holdback: must be no more than the last step leaves the champion, which is 1%"),
        ("checks: [{metric: »error_rat, max: 1%}]", 'routes[0].rollout.checks[0].metric: must be error_rate, rejected, unreadable, latency, requests, score_divergence, disagreement, first_token, token_gap, tokens_per_second, output_length, stream_broken, distance, segment_divergence, shadow_latency, shadow_errors, data_drift, score_drift, kpi, accuracy, log_loss, brier, auc, mae or prometheus, not "error_rat"; did you mean "error_rate"?'),
        ("checks: [{metric: »error_rate}]", "routes[0].rollout.checks[0].metric: error_rate needs a bound: max or max_increase"),
        ("checks: [{metric: error_rate, max: »5}]", 'routes[0].rollout.checks[0].max: must be at most 100% (which is 1), not "5"; did you mean "5%"?'),
        ("checks: [{metric: error_rate, max: 1%, »max_increase: 1%}]", "routes[0].rollout.checks[0].max_increase: a check has one bound, and max is given already; write a second check"),
        ("checks: [{metric: error_rate, »min: 1%}]", "routes[0].rollout.checks[0].min: error_rate takes the bound max or max_increase, not min"),
        ("checks: [{metric: error_rate, max: 1%, »quantile: p99}]", 'routes[0].rollout.checks[0].quantile: error_rate does not take the key "quantile"'),
        ("checks: [{metric: »latency, max: 1s}]", 'routes[0].rollout.checks[0].metric: latency needs the key "quantile"'),
        ("checks: [{metric: latency, quantile: p99, max: »200 ms}]", 'routes[0].rollout.checks[0].max: must be a duration such as 250ms, 2s, 24h or 1m30s, not "200 ms"; did you mean "200ms"?'),
        ("checks: [{metric: latency, quantile: »99, max: 1s}]", 'routes[0].rollout.checks[0].quantile: must be a quantile such as p50, p99 or p99.9, not "99"; did you mean "p99"?'),
        ("checks: [{metric: latency, quantile: p9, max_ratio: »25%}]", 'routes[0].rollout.checks[0].max_ratio: must be a number, not "25%"'),
        ("checks: [{metric: requests, min: »1.5}]", 'routes[0].rollout.checks[0].min: must be a whole number, not "1.5"'),
        ("checks: [{metric: »kpi, min: 1}]", 'routes[0].rollout.checks[0].metric: kpi needs the key "name"'),
        ("checks: [{metric: kpi, name: k, min: 1, kind: »events}]", 'routes[0].rollout.checks[0].kind: must be event or amount, not "events"; did you mean "event"?'),
        ("checks: [{metric: error_rate, max: 1%, »kind: event}]", 'routes[0].rollout.checks[0].kind: error_rate does not take the key "kind"'),
        ("checks: [{metric: kpi, name: k, min: 1, range: »[1]}]", "routes[0].rollout.checks[0].range: must be two numbers, as in [0, 500], not a list"),
        ("checks: [{metric: kpi, name: k, min: 1, range: [0, »x]}]", 'routes[0].rollout.checks[0].range[1]: must be a number, not "x"'),
        ("checks: [{metric: kpi, name: k, min: 1, range: »[5, 5]}]", "routes[0].rollout.checks[0].range: must be two numbers, the lower first"),
        ("checks: [{metric: kpi, name: k, min: »5, range: [0, 5]}]", "routes[0].rollout.checks[0].min: must be between 0 and 5, as numbers from 0 to 5 never break another limit"),
        ("checks: [{metric: kpi, name: k, min_increase: »-5, range: [0, 5]}]", "routes[0].rollout.checks[0].min_increase: must be between -5 and 5, as numbers from 0 to 5 never break another limit"),
        ("checks: [{metric: kpi, name: k, max: »1.5, kind: event}]", "routes[0].rollout.checks[0].max: must be between 0 and 1, as numbers from 0 to 1 never break another limit"),
        ("checks: [{metric: kpi, name: k, max: 0.5, kind: event, »range: [0, 1]}]", "routes[0].rollout.checks[0].range: an event has the range 0 to 1; write kind: amount, or no range"),
        ("checks: [{metric: kpi, name: k, min: 1, missing: »none}]", 'routes[0].rollout.checks[0].missing: must be a number, not "none"'),
        ("checks: [{metric: »accuracy, min: 90%}]", "routes[0].rollout.checks[0].metric: accuracy needs a prediction; write prediction: {score: …} or prediction: {label: …}"),
        ("checks: [{metric: »brier, max: 0.2}]", "routes[0].rollout.checks[0].metric: brier needs a prediction; write prediction: {score: …}"),
        ("checks: [{metric: »prometheus, max: 1}]", 'routes[0].rollout.checks[0].metric: prometheus needs the key "query"'),
    ],
)  # fmt: skip
def test_errors_of_a_rollout(keys: str, expected: str):
    assert_errors(text(route=f"rollout: {{strategy: canary, champion: a, challenger: b, {keys}}}"), expected)


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ("{metric: »error_rate, max: null}", "error_rate needs a bound: max or max_increase"),
        ("{metric: »latency, max: 1s, quantile: ~}", 'latency needs the key "quantile"'),
    ],
)
def test_a_null_in_a_check_counts_as_not_given(check: str, expected: str):
    written = text(route=rollout(checks=f"[{check}]"))
    assert_errors(written, f"routes[0].rollout.checks[0].metric: {expected}")


def test_a_bound_of_an_unknown_metric_must_be_a_quantity():
    found = errors(text(route=rollout(checks="[{metric: error_rat, max: much}]")))
    assert [e.partition(" ")[2] for e in found][1:] == [
        'routes[0].rollout.checks[0].max: must be a share, a duration or a number, not "much"'
    ]


def test_blue_green_leaves_nothing_to_hold_back():
    written = "rollout: {strategy: blue_green, champion: a, challenger: b, watch: {for: 1h, holdback: »2%}}"
    message = "watch.holdback: must be no more than the last step leaves the champion, which is 0%"
    assert_errors(text(route=written), f"routes[0].rollout.{message}")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("[{mirror: 10%}, {mirror: »10%}]", "[1].mirror: must be more than the step before, which has the mirror 10%"),
        ("[{weight: 1%}, {mirror: »10%}]", "[1].mirror: must be more than the step before, which has the weight 1%"),
        ("[{mirror: 10%}, {weight: »0%}]", "[1].weight: must be more than the step before, which has the mirror 10%"),
        ("[{weight: 1%, »mirror: 10%}]", "[0].mirror: a step has a weight or a mirror, not both; write two steps, first the mirror"),
    ],
)  # fmt: skip
def test_errors_of_mirror_steps(steps: str, expected: str):
    assert_errors(text(route=rollout(steps=steps)), f"routes[0].rollout.steps{expected}")


@pytest.mark.parametrize("keys", [{"strategy": "shadow"}, {"steps": "[{mirror: 10%}, {weight: 1%}]"}])
def test_mirror_steps_need_a_check_that_they_can_answer(keys: dict[str, str]):
    live = "[{metric: error_rate, max_increase: 1%}, {metric: score_divergence, max: 0.1}, {metric: kpi, name: k, min: 1}]"
    written = text(route=rollout(**keys, checks=live)).replace("checks:", "»checks:")
    assert_errors(
        written,
        "routes[0].rollout.checks: mirror steps need a check "
        "that mirrored requests can answer, such as error_rate with max",
    )
    assert errors(text(route=rollout(**keys))) == []
    assert errors(text(route=rollout(**keys, checks=live[:-1] + ", {metric: error_rate, max: 1%}]"))) == []


def test_a_query_needs_a_server():
    checks = "[{metric: »prometheus, query: up, max: 1}]"
    assert_errors(
        text(route=rollout(checks=checks)),
        "routes[0].rollout.checks[0].metric: a query needs a server: "
        "prometheus: {url: http://…} at the top of the file",
    )
    written = text(top="prometheus: {url: »prom:9090}", route=rollout(checks=checks.replace("»", "")))
    assert_errors(written, 'prometheus.url: must be a URL such as https://example.com/hook, not "prom:9090"')


def with_rollouts(*entries: str) -> str:
    """A route with these rollouts; there are backends `a`, `b`, `c` and `d`."""
    backends = "b: {endpoints: http://b:1}\n  c: {endpoints: http://c:1}\n  d: {endpoints: http://d:1}"
    return text(
        backend=backends,
        split="{a: 1}",
        route=f"retry: {{pure: true}}\n    fallback: d\n    rollout: [{', '.join(entries)}]",
    )


def entry(challenger: str, steps: str = "steps: [{weight: 1%}, {weight: 40%}]", champion: str = "a") -> str:
    parts = ["strategy: canary", f"champion: {champion}", f"challenger: {challenger}", steps]
    return "{" + ", ".join(filter(None, parts)) + "}"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((entry("b"), entry("c", champion="»d")), '[1].champion: the rollouts of a route must have the same champion, and the first names "a"'),
        ((entry("b"), entry("»b")), '[1].challenger: "b" is already the challenger of another rollout of this route'),
        ((entry("b"), "»" + entry("c", "")), '[1]: needs the key "steps", since the route has several rollouts'),
        ((entry("b"), entry("c").replace("canary", "»blue_green")), "[1].strategy: blue_green must be the only rollout of a route, since its challenger gets all traffic"),
        ((entry("b"), entry("c", "steps: »[{weight: 60%}]")), "[1].steps: must leave the champion a share; the last steps of the challengers up to this one add up to 100%"),
        ((entry("b"), entry("c", "steps: [{weight: 1%}, {weight: »0%}]")), "[1].steps[1].weight: must be more than the step before, which has the weight 1%"),
        ((entry("b"), entry("»a")), '[1].challenger: must be another backend than the champion "a"'),
        ((entry("b"), entry("»x")), '[1].challenger: no backend is named "x"'),
    ],
)  # fmt: skip
def test_errors_of_several_rollouts(entries: tuple[str, ...], expected: str):
    assert_errors(with_rollouts(*entries), f"routes[0].rollout{expected}")


def test_three_challengers_of_one_champion_can_share_a_route():
    rollouts = (
        entry("b"),
        entry("c", "steps: [{weight: 59%}]"),
        entry("d", "steps: [{mirror: 10%}], checks: {metric: error_rate, max: 1%}"),
    )
    assert errors(with_rollouts(*rollouts)) == []
    found = loaded(with_rollouts(*rollouts)).config.routes[0].rollout
    assert [r.challenger for r in found] == ["b", "c", "d"]


def test_each_backend_of_the_split_is_champion_or_challenger():
    written = with_rollouts(entry("b"), entry("c")).replace("split: {a: 1}", "split: {a: 1, c: 1, »d: 1}")
    assert_errors(
        written, 'routes[0].split.d: "d" is neither champion nor challenger of a rollout of this route'
    )
