"""Errors of routes that the proxy answers itself, of CORS, and of fields that a route changes."""

from __future__ import annotations

import pytest

from crossfade.config.own_answer import CorsConfig, RedirectConfig, RespondConfig, ResponseConfig
from tests.config.sample import errors, loaded, unmarked, warnings

BASE = "listen: :80\nbackends: {a: {endpoints: 'http://a:1'}}\nroutes:\n  - {name: all, match: {path: /all}, split: {a: 1}}\n"


def whole(route: str) -> str:
    return f"{BASE}  - {{name: r, {route}}}\n"


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("match: {path: /y}, redirect: {path: /x}", RedirectConfig(path="/x", status=307)),
        ("redirect: {scheme: https, host: 'h:81', prefix: /, status: 301}", RedirectConfig(scheme="https", host="h:81", prefix="/", status=301)),
        ("respond: {status: 503}", RespondConfig(status=503)),
        ("respond: {status: 200, body: hi, content_type: text/html, headers: {Retry-After: 60}}", RespondConfig(status=200, body="hi", content_type="text/html", headers={"retry-after": "60"})),
        ("split: {a: 1}, cors: {origins: '*', max_age: 10m}", CorsConfig(origins=("*",), max_age=600.0)),
        ("split: {a: 1}, response: {headers: {set: {X-A: 1}, remove: Server}}", ResponseConfig.model_validate({"headers": {"set": {"x-a": "1"}, "remove": ["server"]}})),
    ],
)  # fmt: skip
def test_a_route_with_these_keys(route: str, expected: object):
    written = loaded(whole(route)).config.routes[1]
    assert expected in (written.redirect, written.respond, written.cors, written.response)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("»match: {path: /x}", "one of the keys split, redirect or respond is missing"),
        ("split: {a: 1}, »respond: {status: 503}", "respond: only one of split, redirect or respond can be given, and split is given already"),
        ("match: {path: /y}, redirect: {path: /x}, »respond: {status: 503}", "respond: only one of split, redirect or respond can be given, and redirect is given already"),
        ("respond: {status: 503}, »renamed_from: b", "renamed_from: has no effect: the route has no backend, since the proxy answers by respond"),
        ("»redirect: {}", "redirect: must have one of the keys scheme, host, path or prefix, or it leads to itself"),
        ("»redirect: {status: 301}", "redirect: must have one of the keys scheme, host, path or prefix, or it leads to itself"),
        ("match: {path: /z}, redirect: {path: /x, »prefix: /y}", "redirect.prefix: only one of path or prefix can be given, and path is given already"),
        ("match: {regex: /x}, redirect: {»prefix: /y}", "redirect.prefix: the route matches by regex, so there is no prefix to replace; use path"),
        ("match: {path: /x}, redirect: {path: »/x}", "redirect.path: leads back to this route, which matches /x too"),
        ("match: {prefix: /x}, redirect: {path: »/x/y}", "redirect.path: leads back to this route, which matches /x/y too"),
        ("match: {prefix: /x}, redirect: {prefix: »/x/v2}", "redirect.prefix: leads back to this route, which matches /x/v2 too"),
        ("match: {path: /x, methods: POST}, redirect: {prefix: »/x, status: 308}", "redirect.prefix: leads back to this route, which matches /x too"),
        ("redirect: {path: »/x}", "redirect.path: leads back to this route, which matches /x too"),
        ("redirect: {path: »x}", 'redirect.path: must begin with "/", not be "x"; did you mean "/x"?'),
        ("match: {path: /y}, redirect: {path: /x, status: »305}", 'redirect.status: must be 301, 302, 303, 307 or 308, not "305"'),
        ("redirect: {scheme: »ftp}", 'redirect.scheme: must be http or https, not "ftp"'),
        ("redirect: {host: »'a/b'}", 'redirect.host: must name a host of letters, digits, dots and hyphens, not "a/b"'),
        ("respond: {status: »100}", 'respond.status: must be a status from 200 to 599, not "100"'),
        ("respond: {status: 204, »body: x}", "respond.body: an answer with status 204 has no body"),
        ("respond: {status: 200, body: »" + "x" * 65537 + "}", "respond.body: must have at most 65536 bytes, not 65537"),
        ("respond: {status: 200, headers: {»Content-Length: 1}}", 'respond.headers.Content-Length: "content-length" of an answer cannot be changed: it frames the message, and the proxy writes it from the body it sends'),
        ("respond: {status: 200, headers: {»Content-Type: text/html}}", "respond.headers.Content-Type: must be given by the key content_type of respond"),
        ("respond: {status: 200, headers: {x: »\"a\\nb\"}}", "respond.headers.x: must not hold control characters or line ends"),
        ("»respond: {}", 'respond: the key "status" is missing'),
        ("split: {a: 1}, response: {headers: {set: {»x-crossfade-backend: a}}}", 'response.headers.set.x-crossfade-backend: "x-crossfade-backend" of an answer cannot be changed: it is the proxy\'s own'),
        ("split: {a: 1}, response: {headers: {set: {»X-Request-Id: a}}}", 'response.headers.set.X-Request-Id: "x-request-id" of an answer cannot be changed: it joins logs and traces, and the proxy passes it on or begins it'),
        ("split: {a: 1}, response: {headers: {remove: [a, »connection]}}", 'response.headers.remove[1]: "connection" of an answer cannot be changed: it belongs to one connection, and the proxy writes its own'),
        ("split: {a: 1}, response: {headers: {remove: »date}}", 'response.headers.remove: "date" of an answer cannot be changed: it is written by the proxy'),
        ("split: {a: 1}, cors: {origins: '*'}, response: {headers: {set: {»Access-Control-Allow-Origin: '*'}}}", "response.headers.set.Access-Control-Allow-Origin: must not be set beside cors, which writes these fields"),
        ("cors: {origins: '*'}, respond: {status: 200, headers: {»access-control-max-age: 5}}", "respond.headers.access-control-max-age: must not be set beside cors, which writes these fields"),
        ("split: {a: 1}, »cors: {}", 'cors: the key "origins" is missing'),
        ("split: {a: 1}, cors: {origins: »app.example.com}", 'cors.origins: must be * or an origin such as https://app.example.com or https://*.example.com, not "app.example.com"'),
        ("split: {a: 1}, cors: {origins: »'https://a.example/'}", 'cors.origins: must be as browsers send it, not "https://a.example/"; did you mean "https://a.example"?'),
        ("split: {a: 1}, cors: {origins: »'https://A.example:443'}", 'cors.origins: must be as browsers send it, not "https://A.example:443"; did you mean "https://a.example"?'),
        ("split: {a: 1}, cors: {origins: »'null'}", "cors.origins: must not be null: any page can make its origin null"),
        ("split: {a: 1}, cors: {origins: »'*', credentials: true}", "cors.origins: must not be * together with credentials: name each one"),
        ("split: {a: 1}, cors: {origins: 'https://a', headers: »'*', credentials: true}", "cors.headers: must not be * together with credentials: name each one"),
        ("split: {a: 1}, cors: {origins: 'https://a', max_age: »2d}", "cors.max_age: must be at most 86400, not 172800"),
        ("split: {a: 1}, cors: {»orgins: 'https://a', origins: '*'}", 'cors.orgins: unknown key "orgins"; did you mean "origins"?'),
    ],
)  # fmt: skip
def test_errors(route: str, expected: str):
    text, places = unmarked(whole(route))
    places = (
        [f"5:5: routes[1]: {expected}"]
        if expected.startswith("one of the keys")
        else [f"{p}: routes[1].{expected}" for p in places]
    )
    assert errors(text) == places


@pytest.mark.parametrize(
    "route",
    [
        "match: {prefix: /x}, redirect: {prefix: /}",
        "match: {path: /x}, redirect: {prefix: /x2}",
        "match: {prefix: /x}, redirect: {path: /x, host: other}",
        "match: {path: /x, methods: POST}, redirect: {path: /x, status: 303}",  # the client comes back with GET
        "match: {regex: /x.*}, redirect: {path: /x}",
        "redirect: {path: /all}",  # an earlier route has it
        "redirect: {scheme: https}}\n  - {name: next, split: {a: 1}",  # has what comes over TLS
        "redirect: {host: other}}\n  - {name: next, match: {path: /x}, split: {a: 1}",
        "split: {a: 1}, response: {headers: {set: {access-control-allow-origin: '*'}}}",
        "split: {a: 1}, cors: {origins: '*'}, response: {headers: {set: {vary: accept}}}",
    ],
)
def test_what_a_route_may_do(route: str):
    assert errors(whole(route)) == []


def test_keys_that_concern_backends_have_no_effect():
    route = "match: {path: /y}, redirect: {path: /x}, sticky: {header: x}, limits: {body: 1KiB}"
    assert [w.partition(" ")[2] for w in warnings(whole(route))] == [
        "warning: routes[1].sticky: has no effect: the route has no backend, since the proxy answers by redirect"
    ]
