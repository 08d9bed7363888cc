"""`cache` of a route: its parts, and which routes may have one."""

from __future__ import annotations

import pytest

from crossfade.routing.compiling import compile_snapshot
from crossfade.routing.ledger import new_ledger, salt_of
from crossfade.routing.snapshot import Cache
from tests.config.sample import assert_errors, errors, loaded, text

PURE = "\n    retry: {pure: true}"


def compiled(route: str) -> Cache | None:
    config = loaded(text(split="{a: 1}", route=route))
    ledgers = {r.name: new_ledger(r.split, salt_of(r.name)) for r in config.config.routes}
    return compile_snapshot(config, ledgers, {}, (), 1).routes[0].cache


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        ("{ttl: 60s}", Cache(60.0, 64 * 2**20)),
        ("{ttl: 1h, max: 256MiB, key: [body]}", Cache(3600.0, 256 * 2**20)),
        ("{ttl: 60s, key: body}", Cache(60.0, 64 * 2**20)),
        ("{ttl: 60s, key: [{header: X-Tenant}, body]}", Cache(60.0, 64 * 2**20, True, ("x-tenant",))),
        ("{ttl: 60s, key: {header: X-Tenant}}", Cache(60.0, 64 * 2**20, False, ("x-tenant",))),
    ],
)
def test_what_the_workers_get(cache: str, expected: Cache):
    assert compiled(f"cache: {cache}{PURE}") == expected


def test_without_it_there_is_none():
    assert compiled("fallback: a") is None


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        ("{ttl: »0s}", ".ttl: must be more than 0"),
        ("{ttl: 1s, max: »1KiB}", ".max: must be at least 1048576, not 1024"),
        ("{ttl: 1s, key: »[]}", ".key: must not be empty"),
        ("{ttl: 1s, key: [»path]}", '.key[0]: must be body, or a mapping such as {header: X-Tenant}, not "path"'),
        ("{ttl: 1s, key: [{»headers: a}]}", '.key[0].headers: unknown key "headers"; did you mean "header"?'),
        ("{ttl: 1s, key: [body, {header: »host}]}", ".key[1].header: must not be host: it says nothing about the answer that is not in the key, or is always new"),
        ("{ttl: 1s, key: »[{header: X-A}, {header: x-a}]}", ".key: must name each part once"),
    ],
)  # fmt: skip
def test_what_is_not_valid(cache: str, expected: str):
    assert_errors(text(split="{a: 1}", route=f"cache: {cache}{PURE}"), f"routes[0].cache{expected}")


def test_the_time_must_be_said():
    assert_errors(
        text(split="{a: 1}", route=f"»cache: {{max: 1MiB}}{PURE}"),
        'routes[0].cache: the key "ttl" is missing',
    )


def test_a_request_that_may_change_something_needs_the_operators_word():
    message = (
        "routes[0].cache: needs retry: {pure: true} on the route: requests with any method may change something, "
        "and a cached answer changes nothing"
    )
    assert_errors(text(split="{a: 1}", route="»cache: {ttl: 1s}"), message)
    posts = "»cache: {ttl: 1s}\n    match: {methods: [GET, POST]}"
    assert_errors(text(split="{a: 1}", route=posts), message.replace("any method", "POST"))


@pytest.mark.parametrize("methods", ["GET", "[GET, HEAD]"])
def test_requests_that_only_read_need_none(methods: str):
    assert errors(text(split="{a: 1}", route=f"cache: {{ttl: 1s}}\n    match: {{methods: {methods}}}")) == []
