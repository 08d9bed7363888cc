"""`request` of a backend, and endpoints with a path: what may be written, and what is refused with its reason."""

from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.config.problem import ConfigError
from crossfade.routing.compiling import compile_backend
from crossfade.routing.snapshot import Endpoint, Rewrite
from tests.config.sample import assert_errors, errors, loaded, text, warnings


def backend(keys: str, route: str = "fallback: a") -> str:
    return text(backend=f"b: {{endpoints: http://b:1, request: {keys}}}", route=route)


def test_a_rewriting_is_read() -> None:
    written = backend(
        "{host: API.example.com:8443, path: {replace: /infer}, "
        "headers: {set: {Authorization: 'Bearer ${KEY}'}, add: {x-a: 1}, remove: [Cookie, x-b]}, "
        "json: {model: 'churn-\"3', a.b: 7, c: '7', d: true}}"
    )
    config = loaded(written, KEY="k").config
    compiled = compile_backend("b", config.backends["b"], (), "")
    assert compiled.request == Rewrite(
        host="api.example.com:8443",
        replace="/infer",
        set=(("authorization", "Bearer k"),),
        add=(("x-a", "1"),),
        remove=("cookie", "x-b"),
        json=(("model", '"churn-\\"3"'), ("a.b", "7"), ("c", '"7"'), ("d", "true")),
    )
    assert compile_backend("a", config.backends["a"], (), "").request is None


def test_an_endpoint_may_have_a_path() -> None:
    config = loaded(text(backend="b: {endpoints: [http://t:8000/v2/models/b%2Fc/, 'https://h/x']}")).config
    assert compile_backend("b", config.backends["b"], (), "").endpoints == (
        Endpoint("t", 8000, "t:8000", url="http://t:8000/v2/models/b%2Fc/", base="/v2/models/b%2Fc/"),
        Endpoint("h", 443, "h:443", url="https://h:443/x", tls=True, base="/x"),
    )
    assert [e.name for e in config.backends["b"].endpoints] == [
        "http://t:8000/v2/models/b%2Fc/",
        "https://h:443/x",
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("{»hots: endpoint}", 'hots: unknown key "hots"; did you mean "host"?'),
        ("{host: »'a b'}", 'host: must be preserve, endpoint or a host; as a host it must name a host of letters, digits, dots and hyphens, not "a b"'),
        ("{host: »':80'}", 'host: must be preserve, endpoint or a host; as a host it must be a host name, not ":80"'),
        ("{path: {replace: »infer}}", 'path.replace: must begin with "/", not be "infer"; did you mean "/infer"?'),
        ("{path: {replace: »/a?b=c}}", 'path.replace: must be a path without "?" and "#", not "/a?b=c"; did you mean "/a"?'),
        ("{path: {replace: »'/a b'}}", 'path.replace: must be percent-encoded as it is in a request, not "/a b"; did you mean "/a%20b"?'),
        ("{path: {replace: »\"/a\\r\\nX: y\"}}", 'path.replace: must be percent-encoded as it is in a request, not "/a??X: y"; did you mean "/a%0D%0AX:%20y"?'),
        ("{path: {prefix: »/v2/%2E./x}}", 'path.prefix: must not hold the segments "." and "..", not "/v2/%2E./x"'),
        ("{path: {prefix: /a, »replace: /b}}", "path.replace: only one of prefix, replace or regex can be given, and prefix is given already"),
        ("{»path: {}}", "path: must have the key prefix, replace or regex"),
        ("{path: {regex: {pattern: »'(?=a)', substitution: /a}}}", "path.regex.pattern: must be a regular expression of RE2: look-ahead and look-behind are not supported: (?= at position 0"),
        ("{path: {regex: {pattern: »'x{1,300}', substitution: /a}}}", "path.regex.pattern: must compile to at most 200 instructions, not 603: repeats such as {1,200} cost most"),
        ("{path: {regex: {pattern: '/(.*)', substitution: »'\\1'}}}", 'path.regex.substitution: must begin with "/", not be "\\1"; did you mean "/\\1"?'),
        ("{path: {regex: {pattern: '/(.*)', substitution: »'/\\1\\2'}}}", "path.regex.substitution: names the group \\2, and the pattern has 1"),
        ("{path: {regex: {pattern: '/(.*)', substitution: »'/\\n'}}}", "path.regex.substitution: must name groups as \\1 to \\9, and hold no other backslash"),
        ("{path: {regex: {pattern: '/(.*)', substitution: »'/../\\1?x'}}}", 'path.regex.substitution: must be a percent-encoded path without "?", "#" and the segments "." and "..", not "/../\\1?x"'),
        ("{json: {»a..b: 1}}", 'json["a..b"]: must be keys joined by dots, as in customer.id, not "a..b"'),
        ("{json: {a: »[1]}}", "json.a: must be text, a number, true or false, not a list"),
        ("{json: {a: 1, »a.b: 1}}", 'json["a.b"]: a.b is within a, which is replaced too'),
        ("{headers: {set: {»Host: a}}}", 'headers.set.Host: "host" cannot be rewritten: it is set by the key "host" of request'),
        ("{headers: {add: {»Content-Length: 1}}}", 'headers.add.Content-Length: "content-length" cannot be rewritten: it frames the message, and the proxy writes it from the body it sends'),
        ("{headers: {remove: »Transfer_Encoding}}", 'headers.remove: "transfer_encoding" cannot be rewritten: it frames the message, and the proxy writes it from the body it sends'),
        ("{headers: {remove: [a, »Connection]}}", 'headers.remove[1]: "connection" cannot be rewritten: it belongs to one connection, and the proxy writes its own'),
        ("{headers: {set: {»X-Forwarded-For: a}}}", 'headers.set.X-Forwarded-For: "x-forwarded-for" cannot be rewritten: it says who the client is, and the proxy writes it (see trusted_proxies)'),
        ("{headers: {set: {»X-Crossfade-Mirror: a}}}", 'headers.set.X-Crossfade-Mirror: "x-crossfade-mirror" cannot be rewritten: it is the proxy\'s own'),
        ("{headers: {set: {»'a b': c}}}", 'headers.set["a b"]: must be a token of letters, digits and hyphens, not "a b"'),
        ("{headers: {set: »{A: b, a: c}}}", 'headers.set: must name each header once, not "a" in two spellings'),
        ("{headers: {set: {a: »\"b\\r\\nc: secret\"}}}", "headers.set.a: must not hold control characters or line ends"),
        ("{headers: {set: {a: »\"b\\0\"}}}", "headers.set.a: must not hold control characters or line ends"),
        (f"{{headers: {{set: {{a: »{'b' * 8193}}}}}}}", "headers.set.a: must be UTF-8 of at most 8192 characters"),
    ],
)  # fmt: skip
def test_what_is_refused(keys: str, message: str) -> None:
    assert_errors(backend(keys), f"backends.b.request.{message}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://b:1/a?b", 'must not have a query; each request has its own; did you mean "http://b:1/a"?'),
        ("http://b:1/x/../y", 'must not hold the segments "." and "..", not "x/../y"'),
        ("'http://b:1/a b'", 'must have a percent-encoded path, not "a b"; did you mean "a%20b"?'),
    ],
)
def test_paths_of_endpoints_that_are_refused(url: str, message: str) -> None:
    assert_errors(text(backend=f"b: {{endpoints: »{url}}}"), f"backends.b.endpoints: {message}")


def test_a_prefix_needs_a_route_that_matches_one() -> None:
    assert_errors(
        backend("{path: {»prefix: /v2}}", "match: {regex: /x/.*}"),
        "backends.b.request.path.prefix: the route r matches by regex, so there is no prefix to replace; use replace or regex",
    )
    assert errors(backend("{path: {prefix: /v2}}", "match: {prefix: /x}")) == []


def test_one_address_may_serve_several_models() -> None:
    assert warnings(text(backend="b: {endpoints: http://a:1}")) != []
    assert warnings(text(backend="b: {endpoints: http://a:1/b}")) == []
    assert warnings(text(backend="b: {endpoints: http://a:1, request: {path: {replace: /b}}}")) == []


def test_fields_of_trusted_proxies() -> None:
    config = loaded(text(top="trusted_headers: X-Real-IP")).config
    assert config.trusted_headers == ("x-real-ip",)
    assert "cf-connecting-ip" in loaded(text()).config.trusted_headers
    assert loaded(text(top="trusted_headers: []")).config.trusted_headers == ()
    assert_errors(
        text(top="trusted_headers: [»X-Forwarded-For, »X_Request_Id]"),
        'trusted_headers[0]: must not name "x-forwarded-for": it says who the client is, and the proxy writes it (see trusted_proxies)',
        'trusted_headers[1]: must not name "x_request_id": it joins logs and traces, and the proxy passes it on or begins it',
    )


@pytest.mark.parametrize(
    ("top", "heard"),
    [
        ("drain: 1s", False),
        ("trusted_proxies: 10.0.0.0/8", True),
        ("trusted_headers: x-client-cert", True),
        ("trusted_headers: [a, X-Real-Ip]", False),
    ],
)
@pytest.mark.parametrize(
    ("route", "place"),
    [
        ("match: {headers: {X-Real-IP: 10.0.0.1}}", 'routes[0].match.headers.X-Real-IP'),
        ("sticky: [{cookie: c}, {header: X-Real-IP}]", "routes[0].sticky[1].header"),
        ("limits: {rate: {key: {header: X-Real-IP}, per_second: 1, burst: 1}}", "routes[0].limits.rate.key.header"),
    ],
)  # fmt: skip
def test_a_field_that_nobody_may_send_gives_a_warning(top: str, heard: bool, route: str, place: str) -> None:
    found = [warning for warning in warnings(text(top=top, route=route)) if "trusted_headers" in warning]
    assert len(found) == (0 if heard else 1)
    assert all(place in warning for warning in found)


SECRET = "a-secret-of-24-characters"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("'Bearer ${KEY}'", "'Bearer ${KEY}'"),
        ("'${KEY}'", "'${KEY}'"),
        (f"'Bearer {SECRET}'", '"***"'),
        (f"'Bearer ${{KEY:-{SECRET}}}'", '"***"'),
        (f"'Basic {SECRET}${{KEY}}'", '"***"'),
    ],
)
def test_values_of_fields_are_secrets(value: str, shown: str) -> None:
    """In what is shown, in the hash, and in messages."""
    written = backend(f"{{headers: {{set: {{authorization: {value}}}}}}}")
    found = load(written, "f.yaml", {"KEY": SECRET})
    assert SECRET not in found.shown
    assert f"authorization: {shown}" in found.shown
    assert load(written, "f.yaml", {"KEY": "another"}).hash == found.hash


@pytest.mark.parametrize("value", ["'Bearer ${KEY}'", "'${KEY}'"])
def test_no_message_shows_the_value_of_a_field(value: str) -> None:
    written = backend(f"{{headers: {{set: {{authorization: {value}}}}}}}")
    with pytest.raises(ConfigError) as refused:
        load(written, "f.yaml", {"KEY": f"{SECRET}\n"})
    assert SECRET not in str(refused.value)


def test_a_word_that_is_spelled_wrong_is_a_warning_as_it_is_a_host() -> None:
    said = {
        host: warnings(backend(f"{{host: {host}}}"))
        for host in ("preserve", "endpoint", "presrve", "a.example")
    }
    assert [host for host, found in said.items() if found] == ["presrve"]
    assert said["presrve"][0].endswith(
        'request.host: is taken for the name of a host; did you mean "preserve"?'
    )
