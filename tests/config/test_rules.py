"""Rules about several values: errors and warnings that no single value gives.

The mark » is at the place that the message must name.
"""

from __future__ import annotations

import pytest

from tests.config.sample import assert_errors, errors, text, unmarked, warnings
from tests.config.whole_files import ALL_USED, rollout, whole

NO_TOKEN = "a token is required, since admin.listen is not a loopback address"


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
