"""Rules about several values: errors and warnings that no single value gives.

The mark » is at the place that the message must name.
"""

from __future__ import annotations

import pytest

from tests.config.sample import assert_errors, errors, text, unmarked, warnings

BASE = """\
listen: {listen}
admin: {admin}
backends: {{a: {{endpoints: http://a}}, b: {{endpoints: http://b}}, {c}}}
routes:
{routes}
"""
ALL_USED = "{name: all, match: {path: /all}, split: {a: 1, b: 1, c: 1}}"
NO_TOKEN = "a token is required, since admin.listen is not a loopback address"


def whole(*routes: str, listen: str = ":80", admin: str = "{}", c: str = "c: {endpoints: http://c}") -> str:
    """The file with these routes, one per line from line 5 on."""
    lines = "\n".join(f"- {route}" for route in routes or (ALL_USED,))
    return BASE.format(listen=listen, admin=admin, c=c, routes=lines)


def rollout(split: str, roles: str, more: str = "") -> str:
    return f"{{name: r, split: {{{split}}}{more}, rollout: {{strategy: canary, {roles}}}}}"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (whole(ALL_USED.replace("path: /all", "path: »//all//x")), 'routes[0].match.path: can never match, since paths.merge_slashes is true; did you mean "/all/x"?'),
        (whole(ALL_USED.replace("path: /all", "prefix: »/all%2Fx")), "routes[0].match.prefix: a slash or backslash that is encoded is matched only with paths: {encoded_slashes: keep}"),
        (whole(ALL_USED.replace("path: /all", "prefix: »/all%5Cx"), listen=":80\npaths: {encoded_slashes: refuse}"), "routes[0].match.prefix: a slash or backslash that is encoded is matched only with paths: {encoded_slashes: keep}"),
        (whole(listen="':80'\nstate: »'redis://:pw@h'"), "state: redis is not supported yet: write sqlite:PATH"),
        (whole(listen="[':80', »'127.0.0.1:80']"), "listen[1]: 127.0.0.1:80 overlaps with the listener 0.0.0.0:80"),
        (whole(listen=":9901", admin="{listen: »'127.0.0.1:9901'}"), "admin.listen: 127.0.0.1:9901 overlaps with the listener 0.0.0.0:9901"),
        (whole(admin="{listen: »'0.0.0.0:1'}"), f"admin.listen: {NO_TOKEN}"),
        (whole(admin="{token: »'', listen: '0.0.0.0:1'}"), f"admin.token: {NO_TOKEN}"),
        (
            whole("{name: x, match: {path: /1}, split: {a: 1}}", "{name: »x, match: {path: /2}, split: {a: 1}}"),
            'routes[1].name: the route in line 5 has the name "x" too',
        ),
        (
            whole("{name: x, renamed_from: »y, match: {path: /1}, split: {a: 1}}", "{name: y, match: {path: /2}, split: {a: 1}}"),
            'routes[0].renamed_from: a route of this file is called "y"',
        ),
        (
            whole("{name: x, renamed_from: »x, match: {path: /1}, split: {a: 1}}"),
            'routes[0].renamed_from: a route of this file is called "x"',
        ),
        (
            whole("{name: x, renamed_from: z, match: {path: /1}, split: {a: 1}}", "{name: y, renamed_from: »z, match: {path: /2}, split: {a: 1}}"),
            'routes[1].renamed_from: the route in line 5 was renamed from "z" too',
        ),
        (
            whole("{name: x, match: {prefix: /a, methods: [GET], »regex: a}, split: {a: 1}}"),
            "routes[0].match.regex: only one of path, prefix or regex can be given, and prefix is given already",
        ),
        (
            whole(rollout("a: 1", "champion: a, challenger: »a")),
            'routes[0].rollout.challenger: must be another backend than the champion "a"',
        ),
        (
            whole(rollout("a: 1", "champion: »b, challenger: a")),
            'routes[0].rollout.champion: the champion must be in the split of the route; "b" is not',
        ),
        (
            whole(rollout("a: 1, »c: 1", "champion: a, challenger: b")),
            'routes[0].split.c: "c" is neither champion nor challenger of a rollout of this route',
        ),
        (whole(rollout("a: 1", "champion: »x, challenger: b")), 'routes[0].rollout.champion: no backend is named "x"'),
    ],
)  # fmt: skip
def test_errors_of_several_values(written: str, expected: str):
    assert_errors(written, expected)


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


@pytest.mark.parametrize(
    "written",
    [
        whole(),
        whole(listen="[':0', ':0']"),
        whole(listen="['0.0.0.0:80', '[::]:80']"),
        whole(c="c: {endpoints: [http://c, 'https://d'], tls: {ca: c}}"),
        whole(admin="{token: '0123456789abcdef', listen: '0.0.0.0:1'}"),
        whole(admin="{listen: 'localhost:1'}"),
        whole("{name: r, match: {path: null, prefix: /x}, split: {a: 1, b: 1, c: 1}}"),
        whole(rollout("a: 90%, b: 10%", "champion: a, challenger: b", ", fallback: c")),
        whole(rollout("a: 1", "champion: a, challenger: b", ", mirror: {to: c, safe: true}")),
        whole("{name: r, split: {a: 1}, mirror: {to: b, safe: true}, fallback: c}"),
    ],
)
def test_valid_configurations_give_no_warning(written: str):
    assert errors(written) == []
    assert warnings(written) == []


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            whole("{name: r, split: {a: 1}, mirror: {to: b, safe: true}}", c="»c: {endpoints: http://c}"),
            "backends.c: no route uses this backend",
        ),
        (
            whole(c="c: {endpoints: [http://c, 'unix:///c'], »tls: {ca: c}}"),
            "backends.c.tls: has no effect, since no endpoint is https://",
        ),
        (
            whole(c="c: {endpoints: ['unix:///c', »'unix:///c']}"),
            "backends.c.endpoints[1]: /c is already an endpoint of c",
        ),
        (
            whole(c="c: {endpoints: [http://c, »http://a:80/]}"),
            "backends.c.endpoints[1]: a:80 is already an endpoint of a",
        ),
        (
            whole("{name: r, split: {a: 1, b: 1}, mirror: [{to: c, safe: true}, {to: »b, safe: true}]}"),
            'routes[0].mirror[1].to: "b" is in the split too, so it gets some requests twice',
        ),
    ],
)
def test_warnings_of_several_values(written: str, expected: str):
    bare, places = unmarked(written)
    assert warnings(bare) == [f"{places[0]}: warning: {expected}"]


@pytest.mark.parametrize("protocol", ["auto", "oip_v2", "kserve_v1", "mlflow", "openai"])
def test_other_protocols_than_json_decide_without_paths(protocol: str):
    checks = "checks: [{metric: disagreement, max: 5%}, {metric: unreadable, max_increase: 1%}]"
    rollout = f"{{strategy: canary, champion: a, challenger: b, {checks}}}"
    prediction = f"prediction: {{protocol: {protocol}, decision: 0.5}}"
    assert (
        errors(
            whole(
                f"{{name: r, match: {{path: /p}}, split: {{a: 1}}, mirror: {{to: b, safe: true, noise: 5%}}, {prediction}, rollout: {rollout}}}",
                ALL_USED,
            )
        )
        == []
    )


def routes(*matches: str) -> str:
    """Routes r0, r1, … in lines 5, 6, …; a match may be preceded by a mark, or be one alone."""
    return whole(
        *(
            f"{{name: r{n}, split: {{a: 1, b: 1, c: 1}}, {match}}}"
            if match
            else f"{{name: r{n}, split: {{a: 1, b: 1, c: 1}}}}"
            for n, match in enumerate(matches)
        )
    )


@pytest.mark.parametrize(
    ("matches", "path", "first"),
    [
        (["", "»match: {path: /x}"], "routes[1].match", '"r0" in line 5'),
        (
            ["match: {path: /y}", "match: {prefix: /}", "»match: {regex: a}"],
            "routes[2].match",
            '"r1" in line 6',
        ),
        (
            ["match: {path: /x, methods: [GET, POST]}", "»match: {path: /x, methods: [POST]}"],
            "routes[1].match",
            '"r0" in line 5',
        ),
    ],
)
def test_a_route_that_can_never_match_is_an_error(matches: list[str], path: str, first: str):
    message = (
        f"can never match: the route {first} comes first and matches every request that this one matches"
    )
    assert_errors(routes(*matches), f"{path}: {message}")


@pytest.mark.parametrize(
    "matches",
    [
        ["match: {path: /x}", ""],
        ["match: {path: /x, methods: [GET]}", "match: {path: /x, methods: [GET, POST]}"],
        ["match: {path: /x, headers: {a: b}}", "match: {path: /x}"],
    ],
)
def test_a_route_that_can_match_is_no_error(matches: list[str]):
    assert errors(routes(*matches)) == []


def test_an_invalid_route_does_not_hide_another_error():
    written = routes("match: {path: »x}", "", "").replace("- {name: r2", "- »{name: r2")
    assert_errors(
        written,
        'routes[0].match.path: must begin with "/", not be "x"; did you mean "/x"?',
        'routes[2]: can never match: the route "r1" in line 6 comes first and matches every request that this one matches',
    )


def test_a_route_repeated_by_an_alias_is_an_error():
    written = whole("&r {name: r, split: {a: 1, b: 1, c: 1}}", "*r")
    assert [e.partition(": ")[2] for e in errors(written)] == [
        'routes[1]: can never match: the route "r" in line 5 comes first and matches every request that this one matches',
        'routes[1].name: the route in line 5 has the name "r" too',
    ]


def test_an_invalid_name_is_reported_by_its_field_only():
    written = whole(
        "{name: [r], split: {a: 1, b: 1, c: 1}}", "{name: [r], split: {a: 1, b: 1, c: 1}, fallback: {}}"
    )
    assert [e.partition(": ")[2] for e in errors(written)] == [
        "routes[0].name: must be text, not a list",
        "routes[1]: can never match: the route in line 5 comes first and matches every request that this one matches",
        "routes[1].name: must be text, not a list",
        "routes[1].fallback: must be text, not a mapping",
    ]


def test_missing_backends_are_reported_once():
    written = text().replace("backends:\n  a: {endpoints: http://a:1}\n  b: {endpoints: http://b:1}\n", "")
    assert errors(written) == ['1:1: the key "backends" is missing']


@pytest.mark.parametrize(
    ("top", "place"),
    [
        ("trusted_proxies: [10.0.0.0/8, »0.0.0.0/0]", "trusted_proxies[1]"),
        ("trusted_proxies: [»'::/0']", "trusted_proxies[0]"),
    ],
)
def test_trusting_every_address_gives_a_warning(top: str, place: str):
    bare, (mark,) = unmarked(text(top=top))
    message = "this range trusts every address, so any client can forge its own address"
    assert warnings(bare) == [f"{mark}: warning: {place}: {message}"]


def test_trusting_half_of_all_addresses_gives_no_warning():
    assert warnings(text(top="trusted_proxies: [10.0.0.0/8, 0.0.0.0/1]")) == []


def test_the_policy_for_paths_allows_what_it_matches():
    policy = "paths: {merge_slashes: false, encoded_slashes: keep}"
    route = ALL_USED.replace("path: /all", "path: //all%2Fx")
    assert errors(whole(route, listen=f":80\n{policy}")) == []


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


def test_a_cookie_that_browsers_do_not_send_to_the_route_is_a_warning():
    written = "match: {{{match}}}\n    sticky: {{assign: {{cookie: c, path: {path}}}}}"
    asked = {
        "path: /a": ["/", "/a", "/b", "/a/"],
        "prefix: /a/b": ["/", "/a", "/a/", "/a/b/c", "/ab"],
        "methods: GET": ["/b"],
    }
    found = {
        (match, path): warnings(text(route=written.format(match=match, path=path)))
        for match, paths in asked.items()
        for path in paths
    }
    told = "warning: routes[0].sticky.assign.path: browsers do not send this cookie to"
    wrong = {case: [w.partition(" ")[2] for w in said] for case, said in found.items() if said}
    assert wrong == {
        ("path: /a", "/b"): [f"{told} /a, so each request there has a new id"],
        ("path: /a", "/a/"): [f"{told} /a, so each request there has a new id"],
        ("prefix: /a/b", "/a/b/c"): [f"{told} /a/b, so each request there has a new id"],
        ("prefix: /a/b", "/ab"): [f"{told} /a/b, so each request there has a new id"],
    }
