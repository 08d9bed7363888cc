"""Errors of single values: line, column, path, a plain sentence and a suggestion.

The mark » is at the place that the message must name.
"""

from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.config.problem import ConfigError
from tests.config.sample import assert_errors, errors, text


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ("»listn: :80", 'listn: unknown key "listn"; did you mean "listen"?'),
        ("workers: »many", 'workers: must be auto or a whole number, not "many"'),
        ("workers: »999", "workers: must be auto or from 0 to 256, not 999"),
        ("workers: »${X}", "workers: the environment variable X is not set; ${X:-…} gives it a default"),
        ("state: »data.db", 'state: must be sqlite:PATH or redis://HOST:PORT; did you mean "sqlite:data.db"?'),
        ("state: »sqlite:sqlite:/a/b.db", 'state: must be sqlite:PATH or redis://HOST:PORT; did you mean "sqlite:/a/b.db"?'),
        ("drain: »soon", 'drain: must be a duration such as 250ms, 2s, 24h or 1m30s, not "soon"'),
        ("drain:»", "drain: must be a duration such as 250ms, 2s, 24h or 1m30s, not empty"),
        ("drain: {delay: »soon}", 'drain.delay: must be a duration such as 250ms, 2s, 24h or 1m30s, not "soon"'),
        ("drain: {»dely: 5s}", 'drain.dely: unknown key "dely"; did you mean "delay"?'),
        ("drain: »[1s]", "drain: must be a duration such as 250ms, 2s, 24h or 1m30s, not a list"),
        ("»tls: {cert: c}", 'tls: the key "key" is missing'),
        ("tls: {cert: c, key: »''}", "tls.key: must not be empty"),
        ("»tls: {client_ca: c}", 'tls: the keys "cert" and "key" are missing'),
        ("tls: {certificates: [{cert: c, key: k}], »cert: c}", 'tls.cert: must not be given beside "certificates"'),
        ("tls: {certificates: »[]}", "tls.certificates: must not be empty"),
        ("tls: {certificates: [{cert: c, key: k}, »{cert: d}]}", 'tls.certificates[1]: the key "key" is missing'),
        ("tls: »on", 'tls: must be a mapping, not "on"'),
        ("admin: {listen: »'9901'}", 'admin.listen: must be host:port, not "9901"; did you mean ":9901"?'),
        ("admin: {token: »}", "admin.token: must be text, not empty"),
        ("limits: {head_count: »0}", "limits.head_count: must be at least 1, not 0"),
        ("limits: {head_bytes: »0}", "limits.head_bytes: must be at least 1, not 0"),
        ("limits: {keep_alive: »0s}", "limits.keep_alive: must be more than 0"),
        ("traceparent: »always", 'traceparent: must be pass or begin, not "always"'),
        ("»access_log: ", "access_log: must be a mapping or false, not empty"),
        ("access_log: »on", 'access_log: must be a mapping, not "on"'),
        ("access_log: {to: »''}", "access_log.to: must not be empty"),
        ("trusted_proxies: [»10.0.0.1/8]", 'trusted_proxies[0]: must be the first address of its range, not "10.0.0.1/8"; did you mean "10.0.0.0/8"?'),
        ("drain: 1s\n»drain: 2s", 'drain: the key "drain" is given twice, first in line 2'),
    ],
)  # fmt: skip
def test_errors_at_the_top_level(top: str, expected: str):
    assert_errors(text(top=top), expected)


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("»b: {}", 'backends.b: the key "endpoints" is missing'),
        ("b: »http://b:1", 'backends.b: must be a mapping, not "http://b:1"'),
        ("b: {endpoints: »[]}", "backends.b.endpoints: must not be empty"),
        ("b: {endpoints: »'ftp://b:1'}", "backends.b.endpoints: must be http://, https:// or unix://, not ftp://"),
        ("b: {endpoints: 'https://b:1', tls: {»key: k.pem}}", 'backends.b.tls.key: needs the key "cert" too'),
        ("b: {endpoints: 'https://b:1', tls: {server_name: »'b:1'}}", 'backends.b.tls.server_name: must be a host name, not "b:1"'),
        ("b: {endpoints: 'http://b', »eject: }", "backends.b.eject: must be a mapping or false, not empty"),
        ("b: {endpoints: 'http://b', eject: {max_share: »0%}}", "backends.b.eject.max_share: must be more than 0"),
        ("b: {endpoints: 'http://b', eject: {statuses: »404}}", "backends.b.eject.statuses: must be at least 500, not 404"),
        ("b: {endpoints: 'http://b', resolve: »0}", "backends.b.resolve: must be more than 0"),
        ("b: {endpoints: ['http://b:1', »'b:2']}", 'backends.b.endpoints[1]: must begin with http://, not be "b:2"; did you mean "http://b:2"?'),
        ("b: {endpoints: 'http://b', »health: }", "backends.b.health: must be a mapping or false, not empty"),
        ("b: {endpoints: 'http://b', health: {path: »health}}", 'backends.b.health.path: must begin with "/", not be "health"; did you mean "/health"?'),
        ("b: {endpoints: 'http://b', health: {»intervall: 1s}}", 'backends.b.health.intervall: unknown key "intervall"; did you mean "interval"?'),
        ("b: {endpoints: 'http://b', timeout: {»conect: 1s}}", 'backends.b.timeout.conect: unknown key "conect"; did you mean "connect"?'),
        ("b: {endpoints: 'http://b', max_in_flight: »0}", "backends.b.max_in_flight: must be at least 1, not 0"),
        ("b: {endpoints: [{url: »'htp://b'}]}", "backends.b.endpoints[0].url: must be http://, https:// or unix://, not htp://"),
        ("b: {endpoints: [{url: 'http://b', »wieght: 2}]}", 'backends.b.endpoints[0].wieght: unknown key "wieght"; did you mean "weight"?'),
        ("b: {endpoints: [{url: 'http://b', weight: »-1}]}", "backends.b.endpoints[0].weight: must be at least 0, not -1"),
        ("b: {endpoints: »[{url: 'http://b', weight: 0}]}", "backends.b.endpoints: must have one with a weight above 0"),
        ("b: {endpoints: 'http://b', queue: {»maxi: 1}}", 'backends.b.queue.maxi: unknown key "maxi"; did you mean "max"?'),
        ("b: {endpoints: 'http://b', queue: {max: »0}}", "backends.b.queue.max: must be at least 1, not 0"),
        ("b: {endpoints: 'http://b', queue: {timeout: »0s}}", "backends.b.queue.timeout: must be more than 0"),
        ("b: {endpoints: 'http://b', version: »[1]}", "backends.b.version: must be text, not a list"),
    ],
)  # fmt: skip
def test_errors_of_a_backend(backend: str, expected: str):
    assert_errors(text(backend=backend), expected)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("»{a: 50%, b: 49%}", "routes[0].split: must add up to 100%, not 99%"),
        ("{a: 50%, b: »0.005%}", 'routes[0].split.b: must be a multiple of 0.01%, "0.005%" is finer'),
        ("»{a: 50%, b: 50}", "routes[0].split: must be all percentages or all plain weights, not both"),
        ("{a: 1, b: »x}", 'routes[0].split.b: must be a percentage such as 5% or a plain weight, not "x"'),
        ("»{}", "routes[0].split: must name at least one backend"),
        ("»[a, b]", "routes[0].split: must be a mapping, not a list"),
    ],
)
def test_errors_of_a_split(split: str, expected: str):
    assert_errors(text(split=split), expected)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("sticky: {»heder: X}", 'routes[0].sticky.heder: unknown key "heder"; did you mean "header"?'),
        ("sticky: [{»cookei: X}]", 'routes[0].sticky[0].cookei: unknown key "cookei"; did you mean "cookie"?'),
        ("sticky: {header: »'a b'}", 'routes[0].sticky.header: must be a token of letters, digits and hyphens, not "a b"'),
        ("sticky: {client_ip: »yes}", 'routes[0].sticky.client_ip: must be true or false, not "yes"; did you mean "true"?'),
        ("sticky: {client_ip: »false}", "routes[0].sticky.client_ip: must be true; leave out the key otherwise"),
        ("sticky: {json: »a..b}", 'routes[0].sticky.json: must be keys joined by dots, as in customer.id, not "a..b"'),
        ("sticky: {query: »''}", "routes[0].sticky.query: must not be empty"),
        ("sticky: »{query: a, cookie: b}", "routes[0].sticky: must have one key of header, cookie, query, json, client_ip or assign; write several keys as a list"),
        ("sticky: {assign: {cookie: a, »max_ages: 1d}}", 'routes[0].sticky.assign.max_ages: unknown key "max_ages"; did you mean "max_age"?'),
        ("sticky: {assign: {cookie: »'a b'}}", 'routes[0].sticky.assign.cookie: must be a token of letters, digits and hyphens, not "a b"'),
        ("sticky: [{header: x}, {assign: {cookie: a, max_age: »401d}}]", "routes[0].sticky[1].assign.max_age: must be from 1s to 400d: browsers keep no cookie for longer"),
        ("sticky: {assign: {cookie: a, secure: »yes}}", 'routes[0].sticky.assign.secure: must be auto, true or false, not "yes"; did you mean "true"?'),
        ("sticky: {assign: {cookie: a, same_site: »Lax}}", 'routes[0].sticky.assign.same_site: must be lax, strict or none, not "Lax"; did you mean "lax"?'),
        ("sticky: {assign: {cookie: a, domain: ».example.com}}", 'routes[0].sticky.assign.domain: must be without the dot in front, not ".example.com"; did you mean "example.com"?'),
        ("sticky: {assign: {cookie: a, domain: »'a;b'}}", 'routes[0].sticky.assign.domain: must be a domain such as example.com, not "a;b"'),
        ("sticky: {assign: {cookie: a, path: »'/a;b'}}", 'routes[0].sticky.assign.path: must be a path that begins with "/", without ";", not "/a;b"'),
        ("sticky: [{»assign: {cookie: a}}, {header: x}]", "routes[0].sticky[0].assign: must be the last key: no key behind it is ever read"),
        ("sticky: {assign: {cookie: »__Host-a}}", "routes[0].sticky.assign.cookie: browsers take this name only with secure: true"),
        ("sticky: {assign: {cookie: __Host-a, secure: true, domain: »a.b}}", "routes[0].sticky.assign.domain: browsers take a __Host- cookie only without a domain"),
        ("sticky: {assign: {cookie: __Host-a, secure: true, path: »/a}}", 'routes[0].sticky.assign.path: browsers take a __Host- cookie only with the path /; did you mean "/"?'),
        ("sticky: {assign: {cookie: a, secure: false, same_site: »none}}", "routes[0].sticky.assign.same_site: browsers take same_site: none only with secure: true"),
        ("sticky: [{cookie: »a}, {assign: {cookie: a}}]", "routes[0].sticky[0].cookie: must not be the cookie of assign, which is read there; leave this key out"),
        ("limits: {rate: {key: {assign: »{cookie: a}}, per_second: 1, burst: 1}}", "routes[0].limits.rate.key.assign: must not be assign: a client that drops the cookie would have no limit"),
        ("limits: {beyond_inspect: »ignore}", 'routes[0].limits.beyond_inspect: must be refuse or absent, not "ignore"'),
        ("sticky: »customer", 'routes[0].sticky: must be a mapping such as {header: X-Customer-Id}, not "customer"'),
        ("match: {path: »predict}", 'routes[0].match.path: must begin with "/", not be "predict"; did you mean "/predict"?'),
        ("match: {path: »/a?b}", 'routes[0].match.path: must be a path without "?" and "#", not "/a?b"; did you mean "/a"?'),
        ("match: {path: »/café}", 'routes[0].match.path: must be percent-encoded as it is in a request, not "/café"; did you mean "/caf%C3%A9"?'),
        ("match: {path: »/%70redict}", 'routes[0].match.path: must be in the spelling that requests are matched in, not "/%70redict"; did you mean "/predict"?'),
        ("match: {path: »/caf%c3%a9}", 'routes[0].match.path: must be in the spelling that requests are matched in, not "/caf%c3%a9"; did you mean "/caf%C3%A9"?'),
        ("match: {prefix: »/a/./b/../c}", 'routes[0].match.prefix: must be in the spelling that requests are matched in, not "/a/./b/../c"; did you mean "/a/c"?'),
        ("match: {prefix: »'/a[0]'}", 'routes[0].match.prefix: must be in the spelling that requests are matched in, not "/a[0]"; did you mean "/a%5B0%5D"?'),
        ("match: {path: »/../a}", "routes[0].match.path: must be a path that all servers read alike: The path goes above the root."),
        ("match: {path: »/a%}", "routes[0].match.path: must be a path that all servers read alike: The path has a % without two hexadecimal digits."),
        ("match: {path: »/a%00}", "routes[0].match.path: must be a path that all servers read alike: The path has a NUL."),
        ("match: {regex: »'['}", "routes[0].match.regex: must be a regular expression of RE2: missing ]: [ at position 0"),
        ("match: {regex: »'/v[0-9]++'}", "routes[0].match.regex: must be a regular expression of RE2: bad repetition operator: ++ at position 7"),
        ("match: {regex: »'\\u0041'}", "routes[0].match.regex: must be a regular expression of RE2: invalid escape sequence: \\u at position 0"),
        ("match: {regex: »'/(a)\\1'}", "routes[0].match.regex: must be a regular expression of RE2: backreferences are not supported: \\1 at position 4"),
        ("match: {regex: »'/(?!admin).*'}", "routes[0].match.regex: must be a regular expression of RE2: look-ahead and look-behind are not supported: (?! at position 1"),
        ("match: {regex: »'/.*(?<=x)'}", "routes[0].match.regex: must be a regular expression of RE2: look-ahead and look-behind are not supported: (?<= at position 3"),
        ("match: {regex: »'a{1001}'}", "routes[0].match.regex: must be a regular expression of RE2: invalid repetition size: {1001} at position 1"),
        ("match: {regex: »'(.*){1,900}'}", "routes[0].match.regex: must compile to at most 1000 instructions, not 3602: repeats such as {1,200} cost most"),
        ("match: {regex: »é}", "routes[0].match.regex: must be at most 1000 characters of ASCII"),
        ("match: {methods: [»post]}", 'routes[0].match.methods[0]: must be in capitals, not "post"; did you mean "POST"?'),
        ("match: {headers: »{X-A: 1, x-a: 2}}", 'routes[0].match.headers: must name each header once, not "x-a" in two spellings'),
        ('match: {headers: {a: »"b\\n"}}', "routes[0].match.headers.a: must not hold control characters"),
        ("match: {headers: {»a b: c}}", 'routes[0].match.headers["a b"]: must be a token of letters, digits and hyphens, not "a b"'),
        ("match: {query: {a: »''}}", "routes[0].match.query.a: must not be empty"),
        ("match: {json: {a: »[1]}}", "routes[0].match.json.a: must be text, a number, true or false, not a list"),
        ("match: {»json_fields: {a: 1}}", 'routes[0].match.json_fields: unknown key "json_fields"'),
        ("mirror: {to: b, safe: true, »sampel: 1}", 'routes[0].mirror.sampel: unknown key "sampel"; did you mean "sample"?'),
        ("mirror: [{to: b, sample: »5}]", 'routes[0].mirror[0].sample: must be at most 100% (which is 1), not "5"; did you mean "5%"?'),
        ("mirror: [»{sample: 5%}]", 'routes[0].mirror[0]: the key "to" is missing'),
        ("prediction: {protocol: »oip}", 'routes[0].prediction.protocol: must be json, auto, oip_v2, kserve_v1, mlflow or openai, not "oip"; did you mean "oip_v2"?'),
        ("prediction: {score: s, segment: [a, »b..c]}", 'routes[0].prediction.segment[1]: must be keys joined by dots, as in customer.id, not "b..c"'),
        ("prediction: {score: s, segment: [{»heder: X}]}", 'routes[0].prediction.segment[0].heder: unknown key "heder"; did you mean "header"?'),
        ("prediction: {score: s, segment: [{header: »a b}]}", 'routes[0].prediction.segment[0].header: must be a token of letters, digits and hyphens, not "a b"'),
        ("prediction: {score: s, segment: [»{header: a, json: b}]}", "routes[0].prediction.segment[0]: must be a path in the answer, or have one key of json, header or query, not a mapping"),
        ("prediction: {score: s, segment: »[a, {json: a}, a]}", "routes[0].prediction.segment: must name each source once"),
        ("prediction: {score: s, segment: »[a, b, c, d, e, f, g, h, i]}", "routes[0].prediction.segment: must be at most 8, not 9"),
        ("prediction: {score: s, sample: »5}", 'routes[0].prediction.sample: must be at most 100% (which is 1), not "5"; did you mean "5%"?'),
        ("prediction: {score: s, decision: »yes}", 'routes[0].prediction.decision: must be a number, not "yes"'),
        ("»feedback: {}", 'routes[0].feedback: the key "horizon" is missing'),
        ("retry: {attempts: »-1}", "routes[0].retry.attempts: must be at least 0, not -1"),
        ("retry: {attempts: »11}", "routes[0].retry.attempts: must be at most 10, not 11"),
        ("retry: {pure: »yes}", 'routes[0].retry.pure: must be true or false, not "yes"; did you mean "true"?'),
        ("upgrades: [»h2c]", "routes[0].upgrades[0]: must not be h2c: the requests of such a connection cannot be routed or counted"),
        ("limits: {body: »10M}", 'routes[0].limits.body: must be a size in B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, not "10M"; did you mean "10MiB"?'),
        ("limits: {rate: {key: client_ip, per_second: »0, burst: 1}}", "routes[0].limits.rate.per_second: must be more than 0"),
        ("limits: {rate: {key: client_ip, per_second: »0.000001, burst: 1}}", "routes[0].limits.rate.per_second: must be at least 1e-05, not 1e-06"),
        ("limits: {rate: {key: {»heder: x}, per_second: 1, burst: 1}}", 'routes[0].limits.rate.key.heder: unknown key "heder"; did you mean "header"?'),
        ("limits: {rate: {key: »ip, per_second: 1, burst: 1}}", 'routes[0].limits.rate.key: must be a mapping such as {header: X-Customer-Id}, not "ip"'),
        ("notify: {webhook: »example.com}", 'routes[0].notify.webhook: must be a URL such as https://example.com/hook'),
        ("notify: {webhook: 'https://h', on: [»promoted]}", 'routes[0].notify.on[0]: must be begin, advance, pause, resume, promote, abort, rollback, retry, restart, undecided, approval, no_way_back, split, drift, mirror, recommendation, retrain, gate, state, config, clock or endpoints, not "promoted"; did you mean "promote"?'),
        ("fallback: »[a]", "routes[0].fallback: must be text, not a list"),
        ("rollout: {strategy: »canry, champion: a, challenger: b}", 'routes[0].rollout.strategy: must be blue_green, canary, shadow, champion_challenger or ab_test, not "canry"; did you mean "canary"?'),
        ("rollout: {strategy: canary, champion: »c, challenger: b}", 'routes[0].rollout.champion: no backend is named "c"'),
    ],
)  # fmt: skip
def test_errors_of_a_route(route: str, expected: str):
    assert_errors(text(route=route), expected)


def test_a_similar_name_is_suggested():
    written = """\
listen: :80
backends:
  churn-v2: {endpoints: "http://a:1"}
  churn-v3: {endpoints: "http://b:1"}
routes:
  - name: r
    split: {chrun-v2: 100%}
    fallback: Churn-V3
    mirror: [{to: churn_v3, safe: true}, {to: other, safe: true}]
"""
    assert errors(written) == [
        '7:13: routes[0].split.chrun-v2: no backend is named "chrun-v2"; did you mean "churn-v2"?',
        '8:15: routes[0].fallback: no backend is named "Churn-V3"; did you mean "churn-v3"?',
        '9:19: routes[0].mirror[0].to: no backend is named "churn_v3"; did you mean "churn-v3"?',
        '9:47: routes[0].mirror[1].to: no backend is named "other"',
    ]


def test_all_problems_are_reported_in_file_order():
    written = text(
        top="workers: many",
        backend="b: {endpoints: 'b:1'}",
        split="{a: 50%, c: 49%}",
        route="sticky: {heder: X}\n    retry: {pure: yes}\n    notify: {webhook: 'http://h', key: k}",
    )
    with pytest.raises(ConfigError) as caught:
        load(written, "routing.yaml", {})
    assert str(caught.value).split("\n") == [
        'routing.yaml:2:10: workers: must be auto or a whole number, not "many"',
        "routing.yaml:5:3: warning: backends.b: no route uses this backend",
        'routing.yaml:5:18: backends.b.endpoints: must begin with http://, not be "b:1"; '
        'did you mean "http://b:1"?',
        "routing.yaml:8:12: routes[0].split: must add up to 100%, not 99%",
        'routing.yaml:8:21: routes[0].split.c: no backend is named "c"',
        'routing.yaml:9:14: routes[0].sticky.heder: unknown key "heder"; did you mean "header"?',
        'routing.yaml:10:19: routes[0].retry.pure: must be true or false, not "yes"; did you mean "true"?',
        "routing.yaml:11:35: routes[0].notify.key: is of format: pagerduty only",
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("5", ['1:1: must be a mapping, not "5"']),
        ("- a", ["1:1: must be a mapping, not a list"]),
        (
            "{}",
            [
                '1:1: the key "listen" is missing',
                '1:1: the key "backends" is missing',
                '1:1: the key "routes" is missing',
            ],
        ),
        (
            "listen: []\nbackends: {}\nroutes: []",
            [
                "1:9: listen: must not be empty",
                "2:11: backends: must not be empty",
                "3:9: routes: must not be empty",
            ],
        ),
        (
            'listen: :80\nbackends: {a b: {endpoints: "http://a"}}\nroutes: {name: r, split: {a b: 1}}',
            [
                '2:12: backends["a b"]: must be a name of letters, digits, hyphens, dots and underscores, '
                'not "a b"; did you mean "a-b"?',
                "3:9: routes: must be a list, not a mapping",
            ],
        ),
    ],
)
def test_errors_of_wrong_shapes(written: str, expected: list[str]):
    assert errors(written) == expected


def test_a_value_that_cannot_be_expanded_is_reported_once():
    written = text(
        backend="b: {endpoints: 'http://${HOST}:1'}", split="{a: 1, '${NAME}': 1}", route="fallback: ${X}"
    )
    assert [e.partition(" ")[0] for e in errors(written)] == ["5:18:", "8:19:", "9:15:"]
    assert all("is not set" in e for e in errors(written))


def test_a_problem_in_an_anchor_has_the_place_of_the_anchor():
    written = """\
listen: :80
backends:
  a: {endpoints: http://a, health: &health {path: »health}}
  b: {endpoints: http://b}
routes: [{name: r, split: {a: 1, b: 1}}]
"""
    assert_errors(
        written, 'backends.a.health.path: must begin with "/", not be "health"; did you mean "/health"?'
    )
