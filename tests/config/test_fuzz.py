"""Law: any text gives a configuration, or a ConfigError with places and plain sentences."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossfade.config.load import Loaded, load
from crossfade.config.problem import ConfigError
from crossfade.config.schema import json_schema

SAMPLES = [p.read_text("utf-8") for p in sorted((Path(__file__).parents[2] / "config").rglob("*.yaml"))]
ENV = {"CROSSFADE_ADMIN_TOKEN": "t", "EMPTY": "", "LIST": "[1]"}
FRAGMENTS = [
    "", "~", "true", "false", "-1", "0", "1e99", "999999999999999999", "9" * 5000, "1%", "101%", "0.001%", "p99",
    "24h", "1d2h", "10MiB", "5 MB", "auto", "[]", "{}", "[{}]", "[[]]", "{a: 1}", "[1, 2]", '""', "''", "&x a", "*x",
    "<<: {a: b}", "${EMPTY}", "${LIST}", "${MISSING}", "${", "$${A}", "!!int 1", "!x y", "\t", "\n", "  ", "- ", ": ",
    "? ", "#", "|", ">", "http://", "http://a:1", "/x", "*", "\x00", "\u2028", "é", "name", "path", "prefix", "regex", "(",
]  # fmt: skip
BREAKS = "\n\r\x85\u2028\u2029"  # the line breaks of YAML 1.1
NO_DEADLINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PYDANTIC = ("Input should", "Value error", "Field required", "Extra inputs", "valid dictionary", "pydantic")


def assert_loaded_or_refused(text: str) -> None:
    try:
        found = load(text, "f.yaml", ENV)
    except ConfigError as error:
        assert any(p.severity == "error" for p in error.problems)
        for problem in error.problems:
            assert 1 <= problem.line <= sum(c in BREAKS for c in text) + 2
            assert problem.column >= 1
            assert not any(word in problem.message for word in PYDANTIC), problem
    else:
        assert isinstance(found, Loaded)
        assert all(warning.severity == "warning" for warning in found.warnings)
        for route in found.config.routes:
            goes_to_backends = route.redirect is None and route.respond is None
            assert sum(route.split.values()) == (10_000 if goes_to_backends else 0)


@NO_DEADLINE
@given(st.text())
def test_any_text_is_loaded_or_refused(text: str):
    assert_loaded_or_refused(text)


def token_edges(text: str) -> list[int]:
    """The places where a token of the text begins or ends."""
    return [n for n in range(len(text)) if text[n] in " \n:,{}[]\"'#%/"] or [0]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A sample with some pieces replaced, removed or doubled."""
    text = draw(st.sampled_from(SAMPLES))
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted(
            draw(st.tuples(st.sampled_from(token_edges(text)), st.sampled_from(token_edges(text))))
        )
        end = min(end, start + draw(st.integers(0, 40)))
        piece = draw(st.sampled_from([*FRAGMENTS, text[start:end] * 2]) | st.text(max_size=5))
        text = text[:start] + piece + text[end:]
    return text


@NO_DEADLINE
@given(mutated())
def test_a_mutated_sample_is_loaded_or_refused(text: str):
    assert_loaded_or_refused(text)


SECTIONS = [json_schema(), *json_schema()["$defs"].values()]
KEYS = st.sampled_from(sorted({"a", "b", *(key for section in SECTIONS for key in section["properties"])}))
VALUES = st.recursive(
    st.sampled_from(
        [f for f in FRAGMENTS if f.isascii() and f.isprintable()] + ["a", "b", "canary", "latency", "POST"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def flow(value: object) -> str:
    """The value in YAML's flow style; scalars are quoted if they must be."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    text = str(value)
    return text if text.replace(".", "").replace("%", "").isalnum() else '"' + text.replace('"', "") + '"'


@NO_DEADLINE
@given(st.fixed_dictionaries({}, optional={
    "listen": VALUES, "admin": VALUES, "workers": VALUES, "limits": VALUES, "tls": VALUES,
    "backends": st.dictionaries(st.sampled_from("abc"), st.dictionaries(KEYS, VALUES) | VALUES, max_size=3) | VALUES,
    "routes": st.lists(st.dictionaries(KEYS, VALUES, max_size=6) | VALUES, max_size=3) | VALUES,
}))  # fmt: skip
def test_any_shape_is_loaded_or_refused(written: dict[str, object]):
    assert_loaded_or_refused(flow(written))
