"""Visitor ids: signed, renewed, and worth nothing when they are forged or too old."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.routing.assigned import Assigned
from crossfade.routing.ledger import BUCKETS, hash_of, new_ledger, salt_of
from crossfade.routing.router import Router
from crossfade.routing.snapshot import Sticky
from crossfade.routing.visitor import ID_BYTES, VisitorCookie, visitor_of
from tests.routing.requests import request, route, snapshot

DAY = 86_400.0
NOW = 1_800_000_000.0
SPEC = Assigned("cf_id", 30 * DAY)
SECRETS = ("a secret of this test", "a former secret of it")
VISITOR = visitor_of(bytes(range(ID_BYTES)))
HTTPS = b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nForwarded: for=10.0.0.1"
HTTP = HTTPS.replace(b"https", b"http")


def value_of(field: bytes) -> bytes:
    found = re.match(rb"Set-Cookie: cf_id=([^;]+);", field)
    assert found is not None
    return found[1]


def cookie(spec: Assigned = SPEC, secrets: tuple[str, ...] = SECRETS) -> VisitorCookie:
    return VisitorCookie(spec, secrets)


@pytest.mark.parametrize(
    ("spec", "forwarded", "attributes"),
    [
        (SPEC, HTTP, b"; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax"),
        (SPEC, HTTPS, b"; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax; Secure"),
        (replace(SPEC, secure="true"), HTTP, b"; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax; Secure"),
        (
            replace(SPEC, same_site="none"),
            HTTP,
            b"; Max-Age=2592000; Path=/; HttpOnly; SameSite=None; Secure",
        ),
        (replace(SPEC, secure="false"), HTTPS, b"; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax"),
        (
            replace(SPEC, max_age=1.5, same_site="strict", domain="example.com", path="/app"),
            HTTP,
            b"; Max-Age=1; Path=/app; Domain=example.com; HttpOnly; SameSite=Strict",
        ),
    ],
)
def test_the_field_has_the_attributes_of_the_configuration(
    spec: Assigned, forwarded: bytes, attributes: bytes
):
    field = cookie(spec).field(VISITOR, NOW, forwarded)
    assert field == b"Set-Cookie: cf_id=" + value_of(field) + attributes
    assert re.fullmatch(rb"[A-Za-z0-9_-]{16}\.[0-9a-f]{8}\.[A-Za-z0-9_-]{22}", value_of(field))


@pytest.mark.parametrize(
    ("age", "renews"),
    [(-60.0, False), (0.0, False), (14 * DAY, False), (16 * DAY, True), (29 * DAY, True), (31 * DAY, None)],
)
def test_an_id_is_valid_for_max_age_and_renewed_after_half_of_it(age: float, renews: bool | None):
    visit = cookie().read(value_of(cookie().field(VISITOR, NOW, HTTP)), NOW + age)
    assert (visit and (visit.visitor, visit.renews)) == (None if renews is None else (VISITOR, renews))


def test_a_former_secret_is_accepted_and_its_ids_are_signed_anew():
    value = value_of(cookie(secrets=SECRETS[1:]).field(VISITOR, NOW, HTTP))
    visit = cookie().read(value, NOW)
    assert visit is not None
    assert (visit.visitor, visit.renews) == (VISITOR, True)
    assert cookie(secrets=SECRETS[:1]).read(value, NOW) is None


def test_a_signature_for_another_cookie_is_not_valid():
    value = value_of(cookie().field(VISITOR, NOW, HTTP))
    assert cookie(replace(SPEC, cookie="other")).read(value, NOW) is None


@given(st.integers(0, 46), st.binary(min_size=1, max_size=1))
def test_no_changed_value_is_valid(at: int, byte: bytes):
    value = value_of(cookie().field(VISITOR, NOW, HTTP))
    changed = value[:at] + byte + value[at + 1 :]
    assert (cookie().read(changed, NOW) is None) == (changed != value)


@given(st.binary(max_size=60))
def test_no_bytes_are_an_id(value: bytes):
    assert cookie().read(value, NOW) is None


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (("Cookie: cf_id={}",), True),
        (("Cookie: a=1; cf_id={}; b=2",), True),
        (("Cookie: a=1", "Cookie: cf_id={}"), True),
        (("Cookie: cf_id=forged; cf_id={}",), True),
        (("Cookie: cf_id=forged", "Cookie: cf_id={}"), True),
        (("Cookie: xcf_id={}",), False),
        (("Cookie: cf_id=",), False),
        (("X-Cookie: cf_id={}",), False),
        ((), False),
    ],
)
def test_the_first_valid_id_of_a_request_counts(fields: tuple[str, ...], found: bool):
    value = value_of(cookie().field(VISITOR, NOW, HTTP)).decode()
    visit = cookie().visit(request("/", *[field.replace("{}", value) for field in fields]), NOW)
    assert (visit is not None and visit.visitor == VISITOR) is found


def routes(*before: Sticky) -> Router:
    split = new_ledger({"v2": BUCKETS // 2, "v3": BUCKETS // 2}, salt_of("churn"))
    sticky = (*before, Sticky("assign", "cf_id", SPEC))
    drawn = iter(range(10_000))
    served = replace(snapshot(route("churn", sticky=sticky, ledger=split)), cookie_secrets=SECRETS)
    return Router(served, lambda: NOW, lambda size: next(drawn).to_bytes(size, "big"))


def test_a_new_id_decides_the_bucket_from_the_first_request_on_and_counts_from_the_second_on():
    router = routes()
    (churn,) = router.routes
    backends: Counter[str] = Counter()
    for _ in range(400):
        first = churn.assign(request("/"), None, b"10.0.0.1", lambda: 0.0)
        assert first.visitor is not None
        assert first.key is None
        assert churn.visits is not None
        value = value_of(churn.visits.field(first.visitor, HTTP)).decode()
        later = churn.assign(request("/", f"Cookie: cf_id={value}"), None, b"10.0.0.1", lambda: 0.0)
        assert (later.assigned, later.key) == (first.assigned, hash_of(first.visitor, churn.salt))
        assert later.visitor is None
        backends[first.assigned.backend] += 1
    assert min(backends["v2"], backends["v3"]) > 150


def test_a_key_of_the_request_comes_before_an_id():
    (churn,) = routes(Sticky("header", "x-user")).routes
    value = value_of(cookie().field(VISITOR, NOW, HTTP)).decode()
    keyed = churn.assign(request("/", "X-User: u1", f"Cookie: cf_id={value}"), None, b"", lambda: 0.0)
    assert (keyed.key, keyed.visitor) == (hash_of(b"u1", churn.salt), None)
    empty = churn.assign(request("/", "X-User:", f"Cookie: cf_id={value}"), None, b"", lambda: 0.0)
    assert empty.key == hash_of(VISITOR, churn.salt)


def test_a_route_without_assign_draws_a_bucket():
    split = new_ledger({"v2": BUCKETS}, salt_of("churn"))
    (plain,) = Router(
        replace(snapshot(route("churn", ledger=split)), cookie_secrets=SECRETS), lambda: NOW, bytes
    ).routes
    assigned = plain.assign(request("/"), None, b"", lambda: 0.5)
    assert (assigned.key, assigned.visitor, plain.visits) == (None, None, None)
