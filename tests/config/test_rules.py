"""What the parts mean together: errors and warnings that no single value would give."""

from __future__ import annotations

import pytest

from tests.config.sample import errors, text, warnings

BASE = """\
listen: {listen}
admin: {admin}
backends: {{a: {{endpoints: http://a}}, b: {{endpoints: http://b}}, c: {{endpoints: {c}}}}}
routes:
{routes}
"""
ALL_USED = "- {name: all, match: {path: /all}, split: {a: 1, b: 1, c: 1}}"


def whole(*routes: str, listen: str = ":80", admin: str = "{}", c: str = "http://c") -> str:
    """The routes begin in line 5, one in each line."""
    lines = "\n".join(f"- {route}" for route in routes) or ALL_USED
    return BASE.format(listen=listen, admin=admin, c=c, routes=lines)


def rollout(champion: str, challenger: str, split: str, more: str = "") -> str:
    return (
        f"{{name: r, split: {{{split}}}{more}, "
        f"rollout: {{strategy: canary, champion: {champion}, challenger: {challenger}}}}}"
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (whole(listen="[':80', '127.0.0.1:80']"), ["1:16: listen[1]: 127.0.0.1:80 cannot be bound beside 0.0.0.0:80"]),
        (whole(listen=":9901", admin="{listen: '127.0.0.1:9901'}"), ["2:17: admin.listen: 127.0.0.1:9901 cannot be bound beside 0.0.0.0:9901"]),
        (whole(listen="[':0', ':0']"), []),
        (whole(admin="{listen: '0.0.0.0:1'}"), ["2:17: admin.listen: a token is required, since admin.listen is not a loopback address"]),
        (whole(admin="{token: '', listen: '0.0.0.0:1'}"), ["2:16: admin.token: a token is required, since admin.listen is not a loopback address"]),
        (whole(admin="{token: t, listen: '0.0.0.0:1'}"), []),
        (whole(admin="{listen: 'localhost:1'}"), []),
        (
            whole("{name: x, match: {path: /1}, split: {a: 1}}", "{name: x, match: {path: /2}, split: {a: 1}}"),
            ['6:10: routes[1].name: the route in line 5 is named "x" too'],
        ),
        (
            whole("{name: x, match: {prefix: /a, methods: [GET], regex: a}, split: {a: 1}}"),
            ["5:52: routes[0].match.regex: only one of path, prefix or regex can be given, and prefix is"],
        ),
        (whole(rollout("a", "b", "a: 90%, b: 10%")), []),
        (whole(rollout("a", "b", "a: 1")), []),
        (whole(rollout("a", "a", "a: 1")), ['5:77: routes[0].rollout.challenger: must be another backend than the champion, both are "a"']),
        (whole(rollout("b", "a", "a: 1")), ['5:62: routes[0].rollout.champion: the champion must be in the split of its route, "b" is not']),
        (whole(rollout("a", "b", "a: 1, c: 1")), ['5:27: routes[0].split.c: "c" is neither champion nor challenger of the rollout on this route']),
        (whole(rollout("x", "b", "a: 1")), ['5:62: routes[0].rollout.champion: no backend is named "x"']),
    ],
)  # fmt: skip
def test_errors(written: str, expected: list[str]):
    assert errors(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (whole(), []),
        (whole("{name: r, split: {a: 1}, mirror: {to: b}}"), ["3:59: backends.c: no route uses this backend"]),
        (whole("{name: r, split: {a: 1}, mirror: {to: b}, fallback: c}"), []),
        (whole(rollout("a", "b", "a: 1", ", fallback: c")), []),
        (
            whole(ALL_USED[2:], c="[http://c, http://a:80/]"),
            ["3:84: backends.c.endpoints[1]: a:80 is an endpoint of a already"],
        ),
        (
            whole("{name: r, split: {a: 1, b: 1}, mirror: [{to: c}, {to: b}]}"),
            [
                '5:57: routes[0].mirror[1].to: "b" is in the split as well, so it would see some requests twice',
            ],
        ),
    ],
)  # fmt: skip
def test_warnings(written: str, expected: list[str]):
    assert warnings(written) == [e.replace(": ", ": warning: ", 1) for e in expected]


def routes(*matches: str) -> str:
    return whole(*(f"{{name: r{n}, split: {{a: 1, b: 1, c: 1}}{m}}}" for n, m in enumerate(matches)))


@pytest.mark.parametrize(
    ("matches", "blocked"),
    [
        (["", ", match: {path: /x}"], [("6:38", "routes[1].match", '"r0" in line 5')]),
        (["", ""], [("6:3", "routes[1]", '"r0" in line 5')]),
        ([", match: {path: /x}", ""], []),
        (
            [", match: {path: /y}", ", match: {prefix: /}", ", match: {regex: a}"],
            [("7:38", "routes[2].match", '"r1" in line 6')],
        ),
        ([", match: {path: /x, methods: [GET]}", ", match: {path: /x, methods: [GET, POST]}"], []),
        (
            [", match: {path: /x, methods: [GET, POST]}", ", match: {path: /x, methods: [POST]}"],
            [("6:38", "routes[1].match", '"r0" in line 5')],
        ),
    ],
)
def test_routes_that_can_never_match(matches: list[str], blocked: list[tuple[str, str, str]]):
    assert errors(routes(*matches)) == [
        f"{place}: {path}: can never match: the route {first} comes first and takes all that this one would"
        for place, path, first in blocked
    ]


def test_a_route_that_cannot_be_read_hides_no_other():
    assert errors(routes(", match: {path: x}", "", "")) == [
        '5:52: routes[0].match.path: must begin with "/", not be "x"; did you mean "/x"?',
        '7:3: routes[2]: can never match: the route "r1" in line 6 comes first and takes all that this one would',
    ]


def test_the_same_route_twice_by_an_alias():
    written = whole("&r {name: r, split: {a: 1, b: 1, c: 1}}", "*r")
    assert [e.partition(": ")[2] for e in errors(written)] == [
        'routes[1]: can never match: the route "r" in line 5 comes first and takes all that this one would',
        'routes[1].name: the route in line 5 is named "r" too',
    ]


def test_backends_that_are_missing_altogether_are_missed_once():
    written = text().replace("backends:\n  a: {endpoints: http://a:1}\n  b: {endpoints: http://b:1}\n", "")
    assert errors(written) == ['1:1: the key "backends" is missing']
