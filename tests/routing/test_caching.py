"""Which requests a response cache answers, and for how long; laws of what it holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.http1.freshness import seconds_of_expires
from crossfade.http1.lines import read_field
from crossfade.http1.request_head import RequestHead
from crossfade.http1.response_head import ResponseHead, parse_response
from crossfade.routing.caching import (
    ANY_AGE,
    OVERHEAD,
    PASS_BY,
    RENEW,
    AnswerCache,
    CacheRules,
    cache_of,
)
from crossfade.routing.ledger import BUCKETS, new_ledger, salt_of
from crossfade.routing.snapshot import Backend, Cache, Endpoint, Route, Sticky
from tests.dataplane.plane import BACKEND
from tests.routing.requests import request, route

CACHE = Cache(60.0, 1024 * 1024)
ROUTE = route("churn", ledger=new_ledger({"v2": BUCKETS}, salt_of("churn")))
BACKENDS = {"v2": replace(BACKEND, name="v2", endpoints=(Endpoint("h", 1, "h:1"),))}
DATE = "Date: Sat, 01 Jan 2022 00:00:00 GMT"


def rules(*fields: str, sticky: tuple[Sticky, ...] = (), body: bool = True) -> CacheRules:
    return CacheRules(replace(CACHE, fields=fields, body=body), replace(ROUTE, sticky=sticky))


def asked(*fields: str, target: str = "/predict", method: str = "POST") -> RequestHead:
    return request(target, *fields, method=method)


def answer(*fields: str, status: int = 200, length: str = "Content-Length: 1") -> ResponseHead:
    lines = "".join(f"{field}\r\n" for field in (*fields, length) if field)
    return parse_response(f"HTTP/1.1 {status} OK\r\n{lines}\r\n".encode(), b"POST")


ASKS: dict[str, tuple[tuple[str, ...], float]] = {
    "nothing": ((), ANY_AGE),
    "unknown directives": (("Cache-Control: no-transform, only-if-cached, max-stale=5",), ANY_AGE),
    "an age": (("Cache-Control: max-age=30",), 30.0),
    "two ages": (("Cache-Control: max-age=30", "cache-control: Max-Age=20"), 20.0),
    "a quoted age": (('Cache-Control: max-age="30"',), 30.0),
    "no number": (("Cache-Control: max-age=soon",), RENEW),
    "no age": (("Cache-Control: max-age",), RENEW),
    "a negative age": (("Cache-Control: max-age=-1",), RENEW),
    "another script's digits": (("Cache-Control: max-age=\u0663",), RENEW),
    "min-fresh": (("Cache-Control: min-fresh=5",), RENEW),
    "no-cache": (("Cache-Control: max-age=9, NO-CACHE",), RENEW),
    "pragma": (("Pragma: no-cache",), RENEW),
    "no-store behind no-cache": (("Cache-Control: no-cache, no-store",), PASS_BY),
    "no-store before no-cache": (("Cache-Control: no-store, no-cache",), PASS_BY),
    "range": (("Range: bytes=0-",), PASS_BY),
    "another method": (("X-HTTP-Method-Override: DELETE",), PASS_BY),
    "trailers": (("TE: trailers", "Connection: TE"), PASS_BY),
}


@pytest.mark.parametrize("fields, accepted", ASKS.values(), ids=ASKS)
def test_what_a_request_says_of_caches(fields: tuple[str, ...], accepted: float) -> None:
    assert rules().asks(asked(*fields)) == accepted


@pytest.mark.parametrize(
    "cookies, sticky, passes",
    [
        ("id=1; session=2", Sticky("cookie", "id"), False),
        ("session=2; id=1", Sticky("assign", "id"), True),
        ("id=1", Sticky("assign", "id"), False),
        ("id=1; id=2", Sticky("assign", "id"), False),
        ("", Sticky("assign", "id"), True),
        ("id=1", Sticky("header", "id"), True),
    ],
)
def test_cookies_are_personal_but_for_those_of_the_key_and_of_visitors(
    cookies: str, sticky: Sticky, passes: bool
) -> None:
    head = asked(f"Cookie: {cookies}")
    assert (rules(sticky=(sticky,)).asks(head) == PASS_BY) is passes
    assert rules("cookie").asks(head) == ANY_AGE


FRESH: dict[str, tuple[tuple[str, ...], float]] = {
    "says nothing": ((), 60.0),
    "public": (("Cache-Control: public",), 60.0),
    "shorter": (("Cache-Control: max-age=10",), 10.0),
    "longer": (("Cache-Control: max-age=1000",), 60.0),
    "two": (("Cache-Control: max-age=30, max-age=10",), 10.0),
    "shared": (("Cache-Control: max-age=10, s-maxage=30",), 30.0),
    "shared first": (("Cache-Control: s-maxage=20", "Cache-Control: max-age=10"), 20.0),
    "no number": (("Cache-Control: max-age=1.5",), 0.0),
    "very long": (("Cache-Control: max-age=99999999999999999999",), 60.0),
    "some age": (("Cache-Control: max-age=30", "Age: 10"), 20.0),
    "broken age": (("Age: old",), 0.0),
    "age without lifetime": (("Age: 10",), 60.0),
    "two Age fields": (("Cache-Control: max-age=30", "Age: 1", "Age: 10"), 20.0),
    "expires": ((DATE, "Expires: Sat, 01 Jan 2022 00:00:20 GMT"), 20.0),
    "expires in another spelling": ((DATE, "Expires: Saturday, 01-Jan-22 00:00:20 GMT"), 20.0),
    "expired": ((DATE, "Expires: Fri, 31 Dec 2021 00:00:20 GMT"), 0.0),
    "max-age before expires": ((DATE, "Expires: 0", "Cache-Control: max-age=9"), 9.0),
    "expires without date": (("Expires: Sat, 01 Jan 2099 00:00:20 GMT",), 0.0),
    "empty expires": ((DATE, "Expires:"), 0.0),
    "no date": ((DATE, "Expires: Sat, 99 Foo 2022 99:00:20 GMT"), 0.0),
    "quoted list": (('Cache-Control: private="a, b", max-age=60',), 0.0),
    "no-cache of a field": (('Cache-Control: no-cache="set-cookie"',), 0.0),
    "pragma": (("Pragma: No-Cache",), 0.0),
    "must-revalidate": (("Cache-Control: must-revalidate, max-age=5",), 5.0),
    "vary of the key": (("Vary: Accept-Encoding, ORIGIN , accept", "Vary: host"), 60.0),
    "vary of another": (("Vary: accept", "Vary: cookie"), 0.0),
    "vary of the route's own": (("Vary: X-Tenant",), 60.0),
    "lines of JSON": (("Content-Type: application/jsonl",), 0.0),
    "bytes": (("Content-Type: application/octet-stream",), 60.0),
    "part": (("Content-Range: bytes 0-0/1",), 0.0),
}


@pytest.mark.parametrize("fields, seconds", FRESH.values(), ids=FRESH)
def test_how_long_an_answer_is_given_again(fields: tuple[str, ...], seconds: float) -> None:
    assert rules("x-tenant").fresh_for(answer(*fields), 0.0)[0] == seconds


def test_the_time_that_a_model_took_counts() -> None:
    """RFC 9111 section 4.2.3."""
    assert rules().fresh_for(answer("Cache-Control: max-age=10", "Age: 3"), 2.0) == (5.0, 3.0)
    assert rules().fresh_for(answer("Cache-Control: max-age=10"), 11.0)[0] == 0.0
    assert rules().fresh_for(answer(), 1000.0)[0] == 60.0


@pytest.mark.parametrize("status", [201, 203, 206, 301, 404, 422, 500])
def test_only_200_is_kept(status: int) -> None:
    assert rules().fresh_for(answer("Cache-Control: max-age=10", status=status), 0.0)[0] == 0.0


def test_an_answer_without_an_end_is_not_kept() -> None:
    assert rules().fresh_for(answer(length=""), 0.0)[0] == 0.0
    assert rules().fresh_for(answer(length="Transfer-Encoding: chunked"), 0.0)[0] == 60.0


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_are_some_lifetime(expires: bytes, date: bytes) -> None:
    assert seconds_of_expires(expires, date) >= 0.0


# ── keys ──────────────────────────────────────────────────────────────────────────────────────

PARTS = st.fixed_dictionaries(
    {
        "backend": st.sampled_from(["v2", "v3"]),
        "method": st.sampled_from(["GET", "POST"]),
        "target": st.sampled_from(["/a", "/a?b", "/ab", "/a?b=1", "/A", "/%61"]),
        "host": st.sampled_from(["h", "h:1", "a"]),
        "accept": st.lists(st.sampled_from(["a", "b", "a, b", "a,b"]), max_size=2),
        "tenant": st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=2),
        "cookie": st.sampled_from(["", "a=1", "a=1; b=2"]),
        "customer": st.lists(st.sampled_from(["a", "b"]), max_size=2),
        "body": st.sampled_from([b"", b"1", b"a", b"ab", b"1:a"]),
    }
)


def key_of(parts: dict[str, Any]) -> bytes:
    fields = [f"Accept: {value}" for value in parts["accept"]]
    fields += [f"X-Tenant: {value}" for value in parts["tenant"]]
    fields += [f"X-Customer: {value}" for value in parts["customer"]]
    fields += [f"Cookie: {parts['cookie']}"]
    head = request(parts["target"], *fields, method=parts["method"], host=parts["host"])
    by_field = rules("x-tenant", sticky=(Sticky("header", "X-Customer"), Sticky("cookie", "a")))
    return by_field.key(parts["backend"], head, parts["body"])


@given(PARTS, PARTS)
def test_two_requests_have_one_key_if_and_only_if_all_parts_are_equal(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert (key_of(one) == key_of(other)) is (one == other)


def test_values_do_not_run_into_each_other() -> None:
    """Joined without their lengths, these are the same bytes."""
    one = asked("Accept: a", "X-Tenant: 0000000")
    other = asked("Accept: a0000001")
    by_tenant = rules("x-tenant")
    assert by_tenant.key("v2", one, b"") != by_tenant.key("v2", other, b"")


def test_what_trusted_proxies_say_of_the_client_is_part_of_the_key() -> None:
    keys = set()
    for claims, host in (((), None), ((read_field(b"x-client: a"),), None), ((), b"a"), ((), b"b")):
        head = asked()
        head.claims, head.public_host = claims, host
        keys.add(rules().key("v2", head, b""))
    assert len(keys) == 4


# ── what is held ──────────────────────────────────────────────────────────────────────────────


def empty(most: int = 10_000) -> AnswerCache:
    cache = cache_of(replace(ROUTE, cache=replace(CACHE, max=most)), BACKENDS, None)
    assert cache is not None
    return cache


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["keep", "find", "drop"]),
        st.sampled_from([b"a", b"b", b"c", b"d", b"e"]),
        st.integers(0, 9000),
        st.floats(0.0, 50.0),
    ),
    max_size=60,
)


@given(STEPS)
def test_a_cache_gives_what_was_kept_last_and_never_more_than_its_bytes(
    steps: list[tuple[str, bytes, int, float]],
) -> None:
    cache, now = empty(), 0.0
    last: dict[bytes, tuple[bytes, float]] = {}
    for step, (what, key, size, seconds) in enumerate(steps):
        now += seconds
        if what == "keep":
            body = b"%d " % step + bytes(size)
            if cache.keep(key, answer(), body, b"", (now, now + 60.0)):
                last[key] = (body, now + 60.0)
        elif what == "drop":
            cache.drop(key)
            last.pop(key, None)
        else:
            found = cache.find(key, now, ANY_AGE)
            if found is not None:
                assert found.body == last[key][0]
                assert now < last[key][1]
        assert cache.size == sum(kept.size for kept in cache.answers.values()) <= cache.most


def test_those_that_were_not_asked_for_longest_leave_first() -> None:
    cache = empty(3 * (OVERHEAD + 200))
    for key in (b"a", b"b", b"c"):
        cache.keep(key, answer(), b"1", b"", (0.0, 60.0))
    assert cache.find(b"a", 1.0, ANY_AGE) is not None
    cache.keep(b"d", answer(), b"1", b"", (0.0, 60.0))
    assert list(cache.answers) == [b"c", b"a", b"d"]


def test_an_answer_is_given_until_it_is_stale_or_older_than_asked_for() -> None:
    cache = empty()
    cache.keep(b"a", answer("Age: 5"), b"1", b"Date: now\r\n", (-5.0, 60.0))
    found = cache.find(b"a", 10.0, 15.0)
    assert found is not None
    assert (found.age(10.9), found.head.block) == (15, b"Content-Length: 1\r\nDate: now\r\n")
    assert cache.find(b"a", 10.0, 14.0) is None
    assert cache.find(b"a", 59.9, ANY_AGE) is found
    assert cache.find(b"a", 60.0, ANY_AGE) is None
    assert (cache.size, list(cache.answers)) == (0, [])


def test_a_larger_answer_than_the_cache_displaces_nothing() -> None:
    cache = empty()
    cache.keep(b"a", answer(), b"1", b"", (0.0, 60.0))
    assert not cache.keep(b"a", answer(), bytes(10_000), b"", (0.0, 60.0))
    assert cache.find(b"a", 1.0, ANY_AGE) is not None


# ── which cache a snapshot has ────────────────────────────────────────────────────────────────

SERVED = replace(ROUTE, cache=CACHE)
TWO = replace(BACKENDS["v2"], endpoints=(*BACKENDS["v2"].endpoints, Endpoint("i", 1, "i:1")))
SAME: dict[str, tuple[Route, Backend]] = {
    "nothing": (SERVED, BACKENDS["v2"]),
    "an endpoint fails": (
        SERVED,
        replace(BACKENDS["v2"], endpoints=(Endpoint("h", 1, "h:1", False),), out=("h (1.2.3.4)",)),
    ),
    "an endpoint is drained": (
        SERVED,
        replace(BACKENDS["v2"], endpoints=(Endpoint("h", 1, "h:1", weight=0),)),
    ),
}
OTHER: dict[str, tuple[Route, Backend]] = {
    "a ledger": (replace(SERVED, ledger=replace(SERVED.ledger, version=2)), BACKENDS["v2"]),
    "roles": (replace(SERVED, roles=("challenger",)), BACKENDS["v2"]),
    "its key": (replace(SERVED, cache=replace(CACHE, fields=("x",))), BACKENDS["v2"]),
    "an endpoint": (SERVED, TWO),
}


@pytest.mark.parametrize("route, backend", SAME.values(), ids=SAME)
def test_the_same_model_keeps_its_cache(route: Route, backend: Backend) -> None:
    known = cache_of(SERVED, BACKENDS, None)
    assert known is not None
    assert cache_of(route, {"v2": backend}, known) is known


@pytest.mark.parametrize("route, backend", OTHER.values(), ids=OTHER)
def test_whatever_else_changes_begins_an_empty_cache(route: Route, backend: Backend) -> None:
    known = cache_of(SERVED, BACKENDS, None)
    begun = cache_of(route, {"v2": backend}, known)
    assert begun is not None
    assert begun is not known


def test_there_is_none_while_a_rollout_is_judged_or_where_none_is_asked_for() -> None:
    known = cache_of(SERVED, BACKENDS, None)
    assert cache_of(replace(SERVED, guarded=True), BACKENDS, known) is None
    assert cache_of(replace(SERVED, cache=None), BACKENDS, known) is None
