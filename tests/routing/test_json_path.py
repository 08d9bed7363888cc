"""The scan of a JSON body: it finds what the decoder finds, however the body is cut, in linear time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossfade.errors import RequestRefused
from crossfade.routing.json_path import JsonScan
from crossfade.routing.key import decode_json, json_field
from crossfade.routing.path_values import Path, tree_of

MISSING = object()
NAMES = ["a", "b", "c", "ab", "0", "1", "é", "\U0001f600", ""]
PATHS = [
    ("a",),
    ("b",),
    ("a", "b"),
    ("a", "b", "c"),
    ("c", "0", "a"),
    ("0",),
    ("1", "a"),
    ("ab",),
    ("é",),
    ("\U0001f600",),
]


class Members(list[Any]):
    """The members of an object; names may repeat."""


def scan_of(paths: tuple[Path, ...], body: bytes, cuts: list[int] | None = None) -> JsonScan:
    scan = JsonScan(tree_of(paths))
    places = sorted(cut % (len(body) + 1) for cut in cuts or [])
    for start, end in zip([0, *places], [*places, len(body)], strict=True):
        scan.feed(body[start:end])
    scan.end()
    return scan


def single(value: Any) -> Any:
    """As a scan gives it: no arrays and objects; an int is not a bool."""
    return None if value is None or isinstance(value, dict | list) else (type(value), value)


def finding(scan: JsonScan) -> Any:
    paths = scan.tree.paths
    return (
        [single(scan.value(path)) for path in paths],
        [scan.span(path) for path in paths],
        scan.found,
        scan.repeated,
        scan.invalid,
    )


numbers = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1e300, 10**30]),
)
texts = st.one_of(
    st.text(max_size=8), st.sampled_from([*NAMES, '"', "\\", "\\u0041", "\x7f", "\x00", "x" * 40])
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(st.tuples(st.sampled_from(NAMES) | texts, inner), max_size=5).map(Members),
    ),
    max_leaves=20,
)


@st.composite
def spelled(draw: Any, value: Any) -> str:
    """JSON text of the value, with any white space and any escapes."""
    space = draw(st.sampled_from(["", "", " ", "\r\n", "\t "]))
    if isinstance(value, Members):
        inner = [f"{draw(spelled(n))}{space}:{draw(spelled(v))}" for n, v in value]
        return f"{space}{{{','.join(inner) or space}}}{space}"
    if isinstance(value, list):
        return f"{space}[{','.join([draw(spelled(v)) for v in value])}]{space}"
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    if isinstance(value, str) and draw(st.booleans()):
        text = '"' + "".join(_escaped(c) for c in value) + '"'
    return f"{space}{text}{space}"


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{int.from_bytes(units[i : i + 2], 'big'):04x}" for i in range(0, len(units), 2))


documents = values.flatmap(spelled).filter(lambda t: t.isascii() or _encodes(t)).map(lambda t: t.encode())
wanted = st.lists(st.sampled_from(PATHS), min_size=1, max_size=4, unique=True).map(tuple)
cuts = st.lists(st.integers(0, 10_000), max_size=12)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_against_the_decoder(paths: tuple[Path, ...], body: bytes, where: list[int]) -> None:
    scan, content = scan_of(paths, body, where), decode_json(body)
    if scan.repeated:
        assert scan.found
        return
    if content is None and body.strip() != b"null":
        ends = [span[1] for span in map(scan.span, paths) if span is not None]
        assert scan.invalid or fault_of(body) >= max(ends), "behind the values a scan is lenient"
        assert scan.found or all(scan.span(path) is None and scan.value(path) is None for path in paths)
        return
    assert not scan.invalid
    for path in paths:
        assert single(scan.value(path)) == single(json_field(content, path))
        span = scan.span(path)
        if span is not None:
            assert decode_json(body[slice(*span)]) == json_field(content, path)


def fault_of(body: bytes) -> int:
    """Where a decoder of another make stops; the end if it takes what ours refuses, such as NaN."""
    try:
        json.loads(body.decode())
    except UnicodeDecodeError as error:
        return error.start
    except json.JSONDecodeError as error:
        return len(error.doc[: error.pos].encode())
    return len(body)


@given(wanted, documents, cuts)
def test_a_scan_finds_what_the_decoder_finds(paths, body, where):
    check_against_the_decoder(paths, body, where)


@given(wanted, documents, st.data())
def test_a_damaged_body_gives_what_the_decoder_finds_or_nothing(paths, body, data):
    """Not valid: nothing is found, unless all was found before the damage."""
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        piece = data.draw(
            st.sampled_from([b"", b'"', b"\\", b",", b":", b"{", b"}", b"[", b"]", b"\xff", b"\xe2\x82", b"\x00", b"1e999",
                             b"01", b"\\ud800", b"\\u12", b"NaN", b"-", b"\xef\xbb\xbf", b"9" * 30, b"t", b"\n"])
        )  # fmt: skip
        damaged[at : at + data.draw(st.integers(0, 3))] = piece
    check_against_the_decoder(paths, bytes(damaged), [])


@given(st.binary(max_size=40), cuts)
def test_no_bytes_raise(body, where):
    check_against_the_decoder((("a",),), body, where)
    check_against_the_decoder((("a",),), b'{"a' + body, where)


@given(wanted, documents, cuts, st.binary(max_size=3))
@example((("a",),), b'{"a": 1}', [1, 2, 3], b" {")
def test_any_cut_gives_the_same_finding(paths, body, where, more):
    body += more
    whole = finding(scan_of(paths, body))
    assert finding(scan_of(paths, body, where)) == whole
    assert finding(scan_of(paths, body, list(range(len(body))))) == whole


@given(wanted, documents, st.integers(0, 10_000))
def test_what_is_found_does_not_change(paths, body, at):
    """The route is chosen by it. The decoder reads the same from the whole body, or `repeated` is set."""
    scan = JsonScan(tree_of(paths))
    at %= len(body) + 1
    scan.feed(body[:at])
    early = (scan.found, [(scan.value(path), scan.span(path)) for path in paths])
    scan.feed(body[at:])
    scan.end()
    if early[0] and not scan.repeated:
        assert early[1] == [(scan.value(path), scan.span(path)) for path in paths]
        content = decode_json(body)
        assert [single(scan.value(path)) for path in paths] == [
            single(json_field(content, path)) for path in paths
        ]


@pytest.mark.parametrize(
    ("body", "value", "repeated"),
    [
        (b'{"model": "a", "model": "b"}', "a", True),
        (b'{"model": "a", "x": NaN, "mod\\u0065l": "b"}', "a", True),
        (b'{"model": "a", "x": "\xff\x01\\z", "model": "b"}', "a", True),
        (b'{"model": "a", "x": {"model": 1}, "y": [{"model": 2}], "z": "model"}', "a", False),
        (b'{"model": "a"} {"model": "b"}', "a", False),
        (b'{"x": "\\"model\\": 1", "model": "a"}', "a", False),
    ],
)
def test_a_name_on_a_path_that_comes_again_is_reported(body: bytes, value: str, repeated: bool):
    scan = scan_of((("model",),), body)
    assert (scan.value(("model",)), scan.repeated) == (value, repeated)


@pytest.mark.parametrize(
    "body",
    [
        b'{"x": {"k": "a": 1, "z": 2}, "a": 1}',
        b'{"x": [1, 2,], "a": 1}',
        b'{"x": [1, {"y": 2,}, 3], "a": 1}',
        b'{"x": {"y": [1, 2}], "a": 1}',
        b'{"x": [1 2], "a": 1}',
        b'{"x": [[1, 2], [3 4]], "a": 1}',
        b'{"x": [{"y": 1 "z": 2}, 1], "a": 1}',
        b'{"x": [, 1], "a": 1}',
        b'{"x": {1: 2}, "a": 1}',
        b'{"x": {"y", "z"}, "a": 1}',
        b'{"x": ["\\ud800", 1], "a": 1}',
        b'{"x": ["\xff", 1], "a": 1}',
        b'{"x": ["\n", 1], "a": 1}',
        b'{"x": [01, 1], "a": 1}',
        b'{"x": [1e400, 1], "a": 1}',
        b'{"x": [NaN, 1], "a": 1}',
        b'{"x": 1}, "a": 1}',
        b'\xef\xbb\xbf{"a": 1}',
    ],
)
def test_nothing_is_found_behind_what_is_not_valid(body: bytes):
    assert decode_json(body) is None
    scan = scan_of((("a",),), body)
    assert (scan.invalid, scan.found, scan.value(("a",))) == (True, False, None)


def test_of_two_values_before_all_are_found_the_last_counts():
    scan = scan_of((("a", "b"), ("z",)), b'{"a": {"b": 1}, "a": {"c": 2}, "z": 3}')
    assert (scan.value(("a", "b")), scan.value(("z",)), scan.repeated) == (None, 3, False)


def test_a_span_covers_the_value_as_it_is_spelled():
    body = b'{"n": -1.50e1 , "o": {"x": [1, {}]},"s": "caf\xc3\xa9\\n"}'
    scan = scan_of((("n",), ("o",), ("s",)), body, list(range(len(body))))
    assert [body[slice(*scan.span((name,)) or ())] for name in "nos"] == [
        b"-1.50e1", b'{"x": [1, {}]}', b'"caf\xc3\xa9\\n"',
    ]  # fmt: skip


def test_a_field_behind_the_part_that_was_read_is_refused_only_where_it_is_asked_for():
    scan = JsonScan(tree_of((("model",), ("user", "id"))))
    scan.feed(b'{"model": "m", "messages": [')
    assert (scan.value(("model",)), scan.value(("user", "id"))) == ("m", None)
    scan.refused_beyond = 28
    assert scan.value(("model",)) == "m"
    with pytest.raises(RequestRefused, match=r"field user.id was not found in the first 28 bytes"):
        scan.value(("user", "id"))


@pytest.mark.parametrize(("depth", "valid"), [(9_999, True), (10_000, False)])
def test_a_body_that_is_too_deep_is_not_valid(depth: int, valid: bool):
    scan = scan_of((("a",),), b'{"t": ' + b"[" * depth + b"]" * depth + b', "a": 1}')
    assert (scan.value(("a",)), scan.invalid) == ((1, False) if valid else (None, True))


HARD = {
    "long text": b'{"t": "' + b"w" * 20_000 + b'", "a": 1}',
    "escapes": b'{"t": "' + b"\\n\\ud83d\\ude00" * 2_000 + b'", "a": 1}',
    "long name": b'{"' + b"n" * 20_000 + b'": 0, "a": 1}',
    "deep": b'{"t": ' + b"[" * 9_999 + b"]" * 9_999 + b', "a": 1}',
    "digits": b'{"t": 1.' + b"1" * 20_000 + b', "a": 1}',
    "white space": b'{"t": 1' + b" " * 20_000 + b', "a": 1}',
    "numbers": b'{"t": [' + b"1.5, " * 4_000 + b'2], "a": 1}',
    "texts": b'{"t": [' + b'"x", ' * 4_000 + b'"x"], "a": 1}',
    "names": b"{" + b'"n": {}, ' * 2_000 + b'"a": 1}',
    "same name": b"{" + b'"t": {"u": 1}, ' * 1_500 + b'"a": 1}',
    "quotes": b'{"t": "' + b'\\"' * 10_000 + b'", "a": 1}',
    "UTF-8": b'{"t": "' + "çş€😀".encode() * 2_000 + b'", "a": 1}',
}


@pytest.mark.parametrize("size", [1, 7, 4096, 100_000])
@pytest.mark.parametrize("body", HARD.values(), ids=HARD)
def test_the_work_grows_with_the_body_and_not_faster(body: bytes, size: int):
    """`steps` are tokens and parts of tokens. Bytes that are held over a cut are few, so each step looks at new bytes."""
    scan = JsonScan(tree_of((("a",), ("t", "u"), ("z",))))
    held = 0
    for start in range(0, len(body), size):
        scan.feed(body[start : start + size])
        held = max(held, len(scan.tail))
    scan.end()
    assert scan.value(("a",)) == 1
    assert scan.steps <= 2 * len(body)
    assert held <= 12
