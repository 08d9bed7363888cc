"""Fields of a JSON body replaced: the model reads the new value, and every other byte is the client's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.http1.request_head import RequestHead
from crossfade.routing.json_fields import JsonFields, is_json, json_fields
from tests.routing.requests import request

JSON = request("/v1", "Content-Type: application/json")
MODEL = JsonFields((("model", '"new"'),))


@pytest.mark.parametrize(
    ("fields", "body", "sent"),
    [
        ({"model": '"new"'}, b'{"model":"a","x":1}', b'{"model":"new","x":1}'),
        ({"model": '"new"'}, b' { "x" : [1, {"model": 2}] ,\n "model"\t:  "a\\"b" } ', b' { "x" : [1, {"model": 2}] ,\n "model"\t:  "new" } '),
        ({"model": '"new"'}, b'{"mod\\u0065l":{"a":[1,2]},"x":1.50}', b'{"mod\\u0065l":"new","x":1.50}'),
        ({"model": '"new"'}, b'{"x":"model"}', b'{"model":"new","x":"model"}'),
        ({"model": '"new"'}, b' \n{ } ', b' \n{"model":"new" } '),
        ({"model": '"new"'}, b'{"x":"\\"model\\": 1","model":"\\\\\\""}', b'{"x":"\\"model\\": 1","model":"new"}'),
        ({"model": '"new"'}, b'{"x":["model"],"y":{"model":1},"model":-1.5e+3}', b'{"x":["model"],"y":{"model":1},"model":"new"}'),
        ({"model": '"new"'}, b'{"x":{"model":1}}', b'{"model":"new","x":{"model":1}}'),
        ({"model": '"x"', "x": '"model"'}, b'{"model":1,"x":2}', b'{"model":"x","x":"model"}'),
        ({"model": "7"}, b'{"model":null}', b'{"model":7}'),
        ({"model": '"new"'}, b'[{"model":"a"}]', b'[{"model":"a"}]'),
        ({"model": '"new"'}, b'"model"', b'"model"'),
        ({"model": '"new"'}, b"null", b"null"),
        ({"o.model": '"new"'}, b'{"o":{"model":1,"x":2},"model":3}', b'{"o":{"model":"new","x":2},"model":3}'),
        ({"o.model": '"new"'}, b'{"o":{"x":2}}', b'{"o":{"model":"new","x":2}}'),
        ({"o.p.q": "true"}, b'{"x":1}', b'{"o":{"p":{"q":true}},"x":1}'),
        ({"o.p.q": "true"}, b'{"o":{ }}', b'{"o":{"p":{"q":true} }}'),
        ({"o.p": "true"}, b'{"o":"text"}', b'{"o":"text"}'),
        ({"m.0.name": '"new"'}, b'{"m":[{"name":1},{"name":2}]}', b'{"m":[{"name":"new"},{"name":2}]}'),
        ({"m.1.name": '"new"'}, b'{"m":[{"name":1}]}', b'{"m":[{"name":1}]}'),
        ({"a": "1", "b.c": "2", "b.d": "3"}, b'{"z":0}', b'{"b":{"d":3,"c":2},"a":1,"z":0}'),
    ],
)  # fmt: skip
def test_fields_are_replaced_or_added(fields: dict[str, str], body: bytes, sent: bytes) -> None:
    replacing = JsonFields(tuple(fields.items()))
    assert replacing.refusal(JSON, body) is None
    assert replacing.rewritten(JSON, body) == sent


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (JSON, b'{"model":1', 400),
        (JSON, b'{"model":1} {}', 400),
        (JSON, b'{"model":1,"x":NaN}', 400),
        (JSON, b'{"model":1,}', 400),
        (JSON, b"\xef\xbb\xbf{}", 400),
        (request("/", "Content-Type: text/plain"), '{"model":1}'.encode("utf-16"), 400),
        (request("/", "Content-Type: text/plain"), '{"model":1}'.encode("utf-16-be"), 400),
        (JSON, b'{"model":1,"model":2}', 400),
        (JSON, b'{"model":1,"mod\\u0065l":2}', 400),
        (JSON, b'{"model":1,"Model":2}', 400),
        (JSON, b'{"MODEL":2}', 400),
        (request("/", "Content-Type: text/plain"), b' {"model":1,"Model":2}', 400),
        (request("/"), b"model=a", 400),
        (request("/", "Content-Type: application/json", "Content-Encoding: gzip"), b"\x1f\x8b", 415),
        (request("/", "Content-Type: text/plain", "Content-Encoding: gzip"), b"\x1f\x8b", 415),
        (request("/", "Content-Type: application/x+JSON; charset=utf-8", "Content-Encoding: identity, br"), b"x", 415),
    ],
)  # fmt: skip
def test_what_servers_may_read_in_another_way_is_refused(head: RequestHead, body: bytes, status: int) -> None:
    refusal = MODEL.refusal(head, body)
    assert refusal is not None
    assert refusal.status == status


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (JSON, b""),
        (request("/", "Content-Type: multipart/form-data; boundary=x"), b"--x\r\n"),
        (request("/", "Content-Type: application/x-www-form-urlencoded"), b"model=a"),
    ],
)
def test_what_is_no_json_passes(head: RequestHead, body: bytes) -> None:
    assert MODEL.refusal(head, body) is None
    assert MODEL.rewritten(head, body) == body
    assert not body or not is_json(head, body)


def test_without_fields_there_is_nothing_to_replace() -> None:
    assert json_fields(()) is None


NAMES = st.sampled_from(["model", "o", "x", "Ω\n", "", "m"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.text('ab"\\é{}[],:', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)
SPELLINGS = st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}])
PATHS = st.sampled_from([("model",), ("o", "model"), ("o", "m", "x")])


@given(OBJECTS, SPELLINGS, PATHS, st.text('ab"\\é', max_size=4) | st.integers() | st.booleans())
def test_law_the_model_reads_the_value_and_all_else_as_sent(
    content: dict[str, Any], spelling: dict[str, Any], path: tuple[str, ...], value: Any
) -> None:
    body = json.dumps(content, **spelling).encode()
    replacing = JsonFields(((".".join(path), json.dumps(value)),))
    assert replacing.refusal(JSON, body) is None
    sent = replacing.rewritten(JSON, body)
    wanted = json.loads(json.dumps(content))
    within = wanted
    for name in path[:-1]:
        within = within.setdefault(name, {})
        if not isinstance(within, dict):  # no object for it
            assert sent == body
            return
    within[path[-1]] = value
    assert json.loads(sent) == wanted
    assert replacing.rewritten(JSON, sent) == sent


def test_another_request_may_come_between_check_and_use() -> None:
    replacing = JsonFields((("model", '"new"'),))
    first, second = b'{"model":1,"n":1}', b'{"n":2}'
    assert replacing.refusal(JSON, first) is replacing.refusal(JSON, second) is None
    assert replacing.rewritten(JSON, first) == b'{"model":"new","n":1}'
    assert replacing.rewritten(JSON, second) == b'{"model":"new","n":2}'
    assert replacing.rewritten(JSON, second) == b'{"model":"new","n":2}'
    assert (replacing.checked, replacing.made) == (b"", b"")
