from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.config import reader
from crossfade.config.document import Document, Mark
from crossfade.config.problem import ConfigError
from crossfade.config.reader import read

ENV = {"NAME": "value", "EMPTY": "", "N": "7", "NOTHING": "null"}


def plain(text: str) -> object:
    document = read(text, "f.yaml", ENV)
    assert not document.problems
    return document.root.plain()


def problems(text: str) -> list[str]:
    try:
        return [str(p) for p in read(text, "f", ENV).problems]
    except ConfigError as error:
        return [str(p) for p in error.problems]


@pytest.fixture(params=["C", "Python"])
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        monkeypatch.setattr(reader, "_LOADER", yaml.SafeLoader)


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no\nb: on\nc: 012\nd: 1:30\ne: 1.10", {"a": "no", "b": "on", "c": "012", "d": "1:30", "e": "1.10"}),
        ("a:\nb: ~\nc: null\nd: 'null'\ne: ''", {"a": None, "b": None, "c": None, "d": "null", "e": ""}),
        ("1: [a, {on: b}]", {"1": ["a", {"on": "b"}]}),
        ("a: &x {p: 1}\nb: {<<: *x, q: 2}\nc: *x", {"a": {"p": "1"}, "b": {"p": "1", "q": "2"}, "c": {"p": "1"}}),
        ("a: &x {p: 1, q: 1}\nb: {q: 2, <<: [*x, {r: 3}]}", {"a": {"p": "1", "q": "1"}, "b": {"p": "1", "q": "2", "r": "3"}}),
        ("&k a: *k", {"a": "a"}),
        ("? a\n: 1\n~: 2", {"a": "1", "~": "2"}),
        ("a: !!str 5\nb: ! c", {"a": "5", "b": "c"}),
        ("--- {a: 1}\n...\n", {"a": "1"}),
        ("\ufeffa: 1", {"a": "1"}),
    ],
)  # fmt: skip
def test_scalars_stay_text(text: str, value: object):
    assert plain(text) == value


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("${NAME}", "value"),
        ("x${NAME}y${N}", "xvaluey7"),
        ("'${NAME}'", "value"),
        ("${MISSING:-a:b}", "a:b"),
        ("${EMPTY:-default}", "default"),
        ("${MISSING:-}", ""),
        ("${EMPTY}", ""),
        ("${NOTHING}", None),
        ("'${NOTHING}'", "null"),
        ("$${NAME}", "${NAME}"),
        ("$NAME $5", "$NAME $5"),
    ],
)
def test_variables_in_scalars_are_expanded(scalar: str, value: object):
    assert plain(f"a: {scalar}") == {"a": value}


def test_variables_in_keys_are_expanded():
    assert plain("${NAME}: 1") == {"value": "1"}


INVALID_REFERENCE = "must refer to a variable as ${NAME} or ${NAME:-default}, not"
ESCAPE = "write $${ for a literal ${"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["f:1:1: the file is empty"]),
        ("# nothing\n", ["f:1:1: the file is empty"]),
        ("~", ["f:1:1: the file is empty"]),
        ("a: 1\n---\nb: 2", ["f:2:1: a second document begins here; the file must hold one document"]),
        ("a:\n\tb: 1", ["f:2:1: not YAML: a tab is not allowed here; indent with spaces"]),
        ("a: @b", ['f:1:4: not YAML: a value may not begin with "@" unless it is in quotes']),
        ("a: b: c", ["f:1:5: not YAML: mapping values are not allowed in this context"]),
        (
            "a: [b\nc: d",
            [
                "f:2:2: not YAML: did not find expected ',' or ']' "
                "(while parsing a flow sequence that begins in line 1)"
            ],
        ),
        ("a: b\x07", ["f:1:5: the character U+0007 is not allowed in YAML"]),
        ("a:\n  \ud800", ["f:2:3: the character U+D800 is not allowed in YAML"]),
        ("a: 1\nb: {c: 1,\n c: 2}", ['f:3:2: b.c: the key "c" is given twice, first in line 2']),
        ("a: {[x]: 1}", ["f:1:5: a: a key must be text, not a list"]),
        ("a: !!int 5", ['f:1:4: a: the tag "tag:yaml.org,2002:int" is not supported']),
        ("a: [!env X]", ['f:1:5: a[0]: the tag "!env" is not supported']),
        ("a: *b", ["f:1:4: the alias *b has no anchor before it"]),
        ("a: &b [*b]", ["f:1:8: the alias *b is inside its own anchor"]),
        ("a: {<<: 5}", ['f:1:9: a: << needs a mapping or a list of mappings, not "5"']),
        ("[" * 60, ["f:1:51: nested more than 50 levels deep"]),
        ("? " * 60, ["f:1:101: nested more than 50 levels deep"]),
        ("a: ${MISSING}", ["f:1:4: a: the environment variable MISSING is not set; ${MISSING:-…} gives it a default"]),
        ("a: ${NAME", [f'f:1:4: a: {INVALID_REFERENCE} "${{NAME"; {ESCAPE}']),
        ("a: ['${A:-${B}}']", [f'f:1:5: a[0]: {INVALID_REFERENCE} "${{A:-${{B}}"; {ESCAPE}']),
        ("a: ${N:?}", [f'f:1:4: a: {INVALID_REFERENCE} "${{N:?}}"; {ESCAPE}']),
    ],
)  # fmt: skip
def test_text_that_cannot_be_read(text: str, expected: list[str]):
    assert problems(text) == expected


def test_problems_before_a_syntax_error_are_reported_too():
    assert [p.split(" ")[0] for p in problems("a: ${X}\na: ${Y}\nb: [")] == [
        "f:1:4:",
        "f:2:1:",
        "f:2:4:",
        "f:4:1:",
    ]


def test_the_expansion_of_aliases_is_limited():
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert problems("\n".join(lines)) == ["f:6:5: holds more than 200000 values with its aliases expanded"]


def test_the_nesting_through_aliases_is_limited():
    """Each line nests 40 levels; with their aliases, 41 such lines nest 1640."""
    lines = ["l0: &l0 " + "[" * 40 + "]" * 40]
    lines += [f"l{n}: &l{n} " + "[" * 40 + f"*l{n - 1}" + "]" * 40 for n in range(1, 41)]
    assert problems("\n".join(lines)) == ["f:2:49: nested more than 50 levels deep"]
    allowed = "[" * 24 + "]" * 24
    assert plain(f"a: &a {allowed}\nb: {allowed.replace('[]', '[*a]')}")
    assert problems(f"a: &a [{allowed}]\nb: [{allowed.replace('[]', '[*a]')}]") == [
        "f:2:29: nested more than 50 levels deep"
    ]


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[" * 100_000, "1:51"),
        ("[" * 1001 + "]" * 1001, "1:51"),
        ("{a: " * 100_000, "1:198"),
        ("{" * 100_000, "1:51"),
        ("[{" * 100_000, "1:51"),
        ("a: b\nc: " + "[" * 100_000, "2:53"),
        ("[\n" * 100_000, "51:1"),
        ("- " * 100_000, "1:101"),
        ("? " * 100_000, "1:101"),
        ("\n".join(" " * n + "a:" for n in range(1200)), "50:50"),
    ],
    ids=lambda value: value[:4] if isinstance(value, str) else None,
)
def test_the_nesting_limit_applies_before_that_of_the_parser(text: str, place: str):
    """libyaml 0.2.6 has a limit of 1000 levels, and reads 1024 characters ahead of its events."""
    assert problems(text) == [f"f:{place}: nested more than 50 levels deep"]


def test_the_place_of_a_value():
    text = "a:\n  b: [1, {c: 2}]\n  'd.e': &x\n    f: 1\nlone: {g: 1}\n"
    document = read(text, "f", {})
    assert document.locate(("a", "b", 1, "c")).value == Mark(2, 14)
    assert document.locate(("a", "b", 1, "c")).key == Mark(2, 11)
    assert document.locate(("a", "d.e", "f")).value == Mark(4, 8)
    # A missing key has the place of its parent; a single value is a list of one.
    assert document.locate(("a", "missing", "x")).path == ("a",)
    assert document.locate(("lone", 0, "g")).path == ("lone", "g")
    assert str(document.problem(("a", "d.e", "f"), "no")) == 'f:4:8: a["d.e"].f: no'
    assert [loc for loc, _ in document.each("**", "b", "*")] == [("a", "b", 0), ("a", "b", 1)]


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_document_or_is_refused(text: str):
    try:
        document = read(text, "f", ENV)
    except ConfigError as error:
        assert all(p.line >= 1 and p.column >= 1 for p in error.problems)
        assert error.problems
    else:
        assert isinstance(document, Document)


@settings(deadline=None)
@given(st.text(alphabet="ab:-[]{},&*!|>'\"%@?# \n\t${}~<"))
def test_any_yaml_like_text_is_a_document_or_is_refused(text: str):
    try:
        read(text, "f", ENV)
    except ConfigError as error:
        assert error.problems


def test_merges_of_a_large_mapping_are_bounded():
    """Each copies it: a text of 200 kB would take more than a minute."""
    large = ", ".join(f"k{n}: 1" for n in range(20_000))
    text = f"x: &a {{{large}}}\ny: [{', '.join(['{<<: *a}'] * 3000)}]"
    with pytest.raises(ConfigError, match="aliases stand for more than 200000 values"):
        read(text, "f.yaml", {})


def test_problems_before_a_syntax_error_are_bounded():
    with pytest.raises(ConfigError) as caught:
        read(f"x: {{{', '.join(['k: 1'] * 3000)}}}\n}}", "f.yaml", {})
    assert len(caught.value.problems) == 1001
