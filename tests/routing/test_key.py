"""Sticky keys: their sources, their spelling, and values that are no key."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossfade.routing.key import cookie_value, decode_json, json_key, query_value
from crossfade.routing.router import CompiledRoute
from crossfade.routing.snapshot import Match, Sticky
from tests.routing.requests import request, route

CLIENT = b"10.0.0.9"
HEADER, COOKIE = Sticky("header", "X-Customer-Id"), Sticky("cookie", "sid")
QUERY, JSON, CLIENT_IP = Sticky("query", "user"), Sticky("json", "customer.id"), Sticky("client_ip")


def key(*sources: Sticky, target: str = "/", fields: tuple[str, ...] = (), body: bytes = b"") -> bytes | None:
    compiled = CompiledRoute(route("churn", sticky=sources))
    return compiled.key(request(target, *fields), decode_json(body), CLIENT) or None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (("X-Customer-Id: C-7",), b"C-7"),
        (("x-customer-id:  C-7 ",), b"C-7"),
        (("X-Customer-Id: \u00e7",), "\u00e7".encode()),
        (("X-Customer-Id: 1", "X-Customer-Id: 2"), b"1, 2"),
        (("X-Customer-Id: 1", "Accept: */*", "x-customer-id: 2", "X-Customer-Id: 3"), b"1, 2, 3"),
        (("X-Customer-Id: 1, 2",), b"1, 2"),
        (("X-Customer-Id:",), None),
        (("X-Customer: 1",), None),
        (("X-Customer-Id: 1", "Connection: x-customer-id"), None),
    ],
)
def test_the_key_of_a_header(fields, expected):
    assert key(HEADER, fields=fields) == expected


@pytest.mark.parametrize(
    ("cookies", "expected"),
    [
        (b"sid=abc", b"abc"),
        (b"a=1; sid=abc; b=2", b"abc"),
        (b"a=1;sid=abc", b"abc"),
        (b"sid=a=b==", b"a=b=="),
        (b"sid=first; sid=second", b"first"),
        (b"sid=; sid=second", b"second"),
        (b"sid=", None),
        (b"xsid=1; sid2=2; SID=3", None),
        (b"sid", None),
        (b"a=sid=1", None),
        (b"", None),
        (None, None),
    ],
)
def test_the_key_of_a_cookie(cookies, expected):
    assert cookie_value(cookies, b"sid") == expected
    if cookies is not None:
        assert key(COOKIE, fields=(f"Cookie: {cookies.decode()}",)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (("Cookie: x=1", "Cookie: sid=u1"), b"u1"),
        (("Cookie: sid=u1", "Cookie: x=1"), b"u1"),
        (("Cookie: a=1; b=2", "Accept: */*", "cookie: c=3", "COOKIE: d=4; sid=u1; e=5"), b"u1"),
        (("Cookie: sid=first", "Cookie: sid=second"), b"first"),
        (("Cookie:", "Cookie: sid=u1"), b"u1"),
        (("Cookie: sid=", "Cookie: sid=u1"), b"u1"),
        (("Cookie: x=1", "X-Cookie: sid=u1", "Cookie: y=2"), None),
    ],
)
def test_all_cookie_fields_are_one_list(fields, expected):
    """RFC 9113 section 8.2.3: clients of HTTP/2 split cookies, and a proxy in front may forward them so."""
    assert key(COOKIE, fields=fields) == expected


@given(st.lists(st.sampled_from(["a", "b=1", "sid=x", "sid=y"]), min_size=1, max_size=6), st.data())
def test_a_list_has_one_key_however_it_is_spread_over_fields(values, data):
    for source, name, separator in ((COOKIE, "Cookie", "; "), (HEADER, "X-Customer-Id", ", ")):
        fields, part = [], values[:1]
        for value in values[1:]:
            if data.draw(st.booleans()):
                fields.append(separator.join(part))
                part = []
            part.append(value)
        fields.append(separator.join(part))
        apart = tuple(f"{name}: {field}" for field in fields)
        assert key(source, fields=apart) == key(source, fields=(f"{name}: {separator.join(values)}",))


def test_an_empty_cookie_is_no_key():
    assert key(COOKIE, fields=("Cookie: sid=",)) is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"user=7", b"7"),
        (b"a=1&user=7&b=2", b"7"),
        (b"user=a%20b+c", b"a%20b+c"),
        (b"user=a=b", b"a=b"),
        (b"user=1&user=2", b"1"),
        (b"user=", b""),
        (b"user", b""),
        (b"xuser=1&users=2", None),
        (b"", None),
    ],
)
def test_the_key_of_a_query_parameter(query, expected):
    assert query_value(query, b"user") == expected
    assert key(QUERY, target=f"/?{query.decode()}") == (expected or None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"customer": {"id": "C-7"}}', b"C-7"),
        (b'{"customer": {"id": "42"}}', b"42"),
        (b'{"customer": {"id": 42}}', b"42"),
        (b'{"customer": {"id": 42.0}}', b"42"),
        (b'{"customer": {"id": 4.2e1}}', b"42"),
        (b'{"customer": {"id": -1}}', b"-1"),
        (b'{"customer": {"id": 0}}', b"0"),
        (b'{"customer": {"id": -0.0}}', b"0"),
        (b'{"customer": {"id": 0.5}}', b"0.5"),
        (b'{"customer": {"id": 12345678901234567890123}}', b"12345678901234567890123"),
        ('{"customer": {"id": "\u00e7elik"}}'.encode(), "\u00e7elik".encode()),
        (b'{"customer": {"id": "\\u00e7elik"}}', "\u00e7elik".encode()),
        (b'{"customer": {"id": ""}}', None),
        (b'{"customer": {"id": true}}', None),
        (b'{"customer": {"id": false}}', None),
        (b'{"customer": {"id": null}}', None),
        (b'{"customer": {"id": ["C-7"]}}', None),
        (b'{"customer": {"id": {"a": 1}}}', None),
        (b'{"customer": {"id": 1e3}}', b"1000"),
        (b'{"customer": {"id": "1e3"}}', b"1e3"),
        (b'{"customer": {"id": "042"}}', b"042"),
        (b'{"customer": {"id": 1e999}}', None),
        (b'{"customer": {"id": "first", "id": "last"}}', b"last"),
        (b'{"customer": {"id": "first"}, "customer": {}}', None),
        (b'{"customer": {"id": "C-7"}} trailing', None),
        (b'\xef\xbb\xbf{"customer": {"id": "C-7"}}', None),
        ('{"customer": {"id": "C-7"}}'.encode("utf-16"), None),
        (b'{"customer": {}}', None),
        (b'{"customer": "id"}', None),
        (b'{"customer.id": "C-7"}', None),
        (b'[{"customer": {"id": "C-7"}}]', None),
        (b'"customer"', None),
        (b"", None),
        (b'{"customer": {"id": "C-7"}', None),
        (b'{"customer": {"id": "\xff"}}', None),
        (b'{"customer": {"id": "\\ud800"}}', None),
        (b'{"customer": {"id": "C-7"}, "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    ],
)
def test_the_key_of_a_json_body(body, expected):
    assert key(JSON, body=body) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("inputs.0.data.1", b"7"),
        ("inputs.1.data", b"none"),
        ("inputs.0.data.0.0", b"5"),
        ("inputs.0.data.2", None),
        ("inputs.00.data.1", None),
        ("inputs.-1.data", None),
        ("inputs.\u0661.data", None),
        ("inputs.9999999999.data", None),
        ("inputs.data", None),
        ("0", None),
    ],
)
def test_a_number_in_a_path_is_an_array_index(path: str, expected: bytes | None):
    body = {"inputs": [{"data": [[5], 7]}, {"data": "none"}]}
    assert json_key(body, tuple(path.split("."))) == expected


def test_a_number_in_a_path_is_a_name_in_an_object():
    assert json_key({"a": {"0": "x"}}, ("a", "0")) == b"x"


def test_a_json_field_at_the_root():
    assert json_key({"customer_id": 7}, ("customer_id",)) == b"7"


def test_the_key_of_the_client_address():
    assert key(CLIENT_IP) == CLIENT


def test_the_first_source_that_is_present_wins():
    sources = (HEADER, COOKIE, QUERY, JSON, CLIENT_IP)
    body = b'{"customer": {"id": "json"}}'
    cookie, header = "Cookie: sid=cookie", "X-Customer-Id: header"
    assert key(*sources, target="/?user=query", fields=(cookie, header), body=body) == b"header"
    assert key(*sources, target="/?user=query", fields=(cookie,), body=body) == b"cookie"
    assert key(*sources, target="/?user=query", body=body) == b"query"
    assert key(*sources, body=body) == b"json"
    assert key(*sources) == CLIENT
    assert key(*sources[:-1]) is None
    assert key(JSON, HEADER, fields=(header,), body=body) == b"json"


def test_an_empty_source_is_skipped():
    fields = ("X-Customer-Id:", "Cookie: sid=")
    assert key(HEADER, COOKIE, QUERY, JSON, target="/?user=", fields=fields) is None
    assert key(HEADER, COOKIE, QUERY, CLIENT_IP, target="/?user=", fields=fields) == CLIENT


def test_a_route_without_sources_has_no_keys():
    assert key(fields=("X-Customer-Id: 1",)) is None


@pytest.mark.parametrize(
    ("sources", "match", "needs"),
    [
        ((HEADER, COOKIE, QUERY, CLIENT_IP), Match(), False),
        ((HEADER, JSON), Match(), True),
        ((), Match(json=(("model", "a"),)), True),
        ((), Match(), False),
    ],
)
def test_a_route_needs_the_body_for_json_conditions_and_keys(sources, match, needs):
    assert CompiledRoute(route("churn", match, sources)).needs_body is needs


@given(st.binary(max_size=60))
@example(b'"\xff"')
@example(b'"\\ud800"')
@example(b"[" * 200_000)
@example(b"1" * 10_000)
@example(b"1e999")
@example(b"NaN")
def test_any_body_is_json_or_none(body):
    value = decode_json(body)
    assert json_key({"a": value}, ("a",)) is None or isinstance(json_key({"a": value}, ("a",)), bytes)


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_one_key_in_any_spelling(whole, real):
    assert json_key(decode_json(b'{"k": %d}' % whole), ("k",)) == b"%d" % whole
    assert json_key({"k": real}, ("k",)) == json_key(decode_json(b'{"k": %b}' % repr(real).encode()), ("k",))
