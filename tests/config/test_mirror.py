"""A mirror rewrites its copies: its own keys over those of the backend's `request`."""

from __future__ import annotations

import pytest

from crossfade.config.masking import masked, secret_places
from crossfade.config.reader import read
from crossfade.routing.compiling import compile_snapshot
from crossfade.routing.ledger import new_ledger, salt_of
from crossfade.routing.snapshot import Mirror, Rewrite
from tests.config.sample import assert_errors, errors, loaded, text

REQUEST = (
    "{host: endpoint, path: {prefix: /v2}, json: {model: b, options.mode: fast, seed: 1}, "
    "headers: {set: {authorization: k, x-a: 1}, add: {x-b: 1}, remove: [cookie]}}"
)


def mirrors(mirror: str, request: str = "") -> tuple[Mirror, ...]:
    backend = f"b: {{endpoints: http://b:1{f', request: {request}' if request else ''}}}"
    config = loaded(text(backend=backend, split="{a: 1}", route=f"mirror: {mirror}"))
    ledgers = {r.name: new_ledger(r.split, salt_of(r.name)) for r in config.config.routes}
    return compile_snapshot(config, ledgers, {}, (), 1).routes[0].mirrors


def test_a_mirror_without_keys_of_its_own_sends_what_its_backend_gets():
    assert mirrors("{to: b, safe: true, noise: 5%}", REQUEST) == (Mirror("b", 10_000, 500),)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("path: {replace: /infer}", Rewrite(replace="/infer")),
        ("path: {regex: {pattern: '/(.*)', substitution: '/x/\\1'}}", Rewrite(regex=("/(.*)", "/x/\\1"))),
        ("headers: {set: {X-A: 1}, add: {X-B: 2}, remove: cookie}", Rewrite(set=(("x-a", "1"),), add=(("x-b", "2"),), remove=("cookie",))),
        ("json: {model: c}", Rewrite(json=(("model", '"c"'),))),
    ],
)  # fmt: skip
def test_a_mirror_rewrites_its_copies(keys: str, expected: Rewrite):
    assert mirrors(f"{{to: b, safe: true, {keys}}}") == (Mirror("b", 10_000, 0, expected, "b of r"),)


BELOW = Rewrite(
    host="endpoint",
    prefix="/v2",
    set=(("authorization", "k"), ("x-a", "1")),
    add=(("x-b", "1"),),
    remove=("cookie",),
    json=(("model", '"b"'), ("options.mode", '"fast"'), ("seed", "1")),
)


@pytest.mark.parametrize(
    ("keys", "changed"),
    [
        ("path: {replace: /infer}", {"prefix": None, "replace": "/infer"}),
        ("headers: {set: {X-A: 2}}", {"set": (("authorization", "k"), ("x-a", "2"))}),
        ("headers: {add: {X-A: 2}}", {"set": (("authorization", "k"),), "add": (("x-b", "1"), ("x-a", "2"))}),
        ("headers: {remove: [Authorization, x-b]}", {"set": (("x-a", "1"),), "add": (), "remove": ("cookie", "authorization", "x-b")}),
        ("headers: {set: {x-b: 2}}", {"set": (("authorization", "k"), ("x-a", "1"), ("x-b", "2")), "add": ()}),
        ("json: {model: c, options: none}", {"json": (("seed", "1"), ("model", '"c"'), ("options", '"none"'))}),
        ("json: {options.mode.x: 2}", {"json": (("model", '"b"'), ("seed", "1"), ("options.mode.x", "2"))}),
    ],
)  # fmt: skip
def test_the_keys_of_the_mirror_count_over_those_of_the_backend(keys: str, changed: dict[str, object]):
    found = mirrors(f"{{to: b, safe: true, {keys}}}", REQUEST)[0].request
    assert found == Rewrite(**{name: getattr(BELOW, name) for name in BELOW.__struct_fields__} | changed)


@pytest.mark.parametrize(
    ("mirror", "expected"),
    [
        ("{to: b, safe: true, path: {prefix: /a, »replace: /b}}", "mirror.path.replace: only one of prefix, replace or regex can be given, and prefix is given already"),
        ("[{to: b, safe: true, path: {regex: {pattern: /a, substitution: »/\\1}}}]", "mirror[0].path.regex.substitution: names the group \\1, and the pattern has 0"),
        ("{to: b, safe: true, json: {a: 1, »a.b: 2}}", 'mirror.json["a.b"]: a.b is within a, which is replaced too'),
        ("{to: b, safe: true, headers: {set: {»host: a}}}", 'mirror.headers.set.host: "host" cannot be rewritten: it is set by the key "host" of request'),
        ("{to: b, safe: true, path: {»prefix: /x}}\n    match: {regex: /x}", "mirror.path.prefix: the route matches by regex, so there is no prefix to replace; use replace or regex"),
    ],
)  # fmt: skip
def test_errors_of_what_a_mirror_rewrites(mirror: str, expected: str):
    assert_errors(text(split="{a: 1}", route=f"mirror: {mirror}"), f"routes[0].{expected}")


def test_a_mirror_with_a_path_of_its_own_needs_no_prefix_of_the_route():
    backend = "b: {endpoints: http://b:1, request: {path: {prefix: /v2}}}"
    route = "match: {regex: /x}\n    mirror: {to: b, safe: true, path: {replace: /y}}"
    assert errors(text(backend=backend, split="{a: 1}", route=route)) == []


def test_values_of_header_fields_are_secrets():
    assert ("routes", "*", "mirror", "*", "headers", "set", "**") in secret_places()
    written = text(split="{a: 1}", route="mirror: {to: b, safe: true, headers: {set: {authorization: hush}}}")
    assert "hush" not in masked(written, read(written, "f.yaml", {}))


def test_copies_of_abandoned_requests_can_be_turned_off():
    assert mirrors("{to: b, safe: true}")[0].abandoned
    assert mirrors("{to: b, safe: true, abandoned: false}") == (Mirror("b", 10_000, abandoned=False),)
    assert not mirrors("{to: b, safe: true, abandoned: false, path: {replace: /x}}")[0].abandoned
