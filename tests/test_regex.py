"""The engine of regular expressions, where it is and where it is not installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.config.load import load
from crossfade.config.problem import ConfigError
from crossfade.regex import BadExpression, compiled

FILE = """\
listen: 127.0.0.1:0
backends: {a: {endpoints: http://a:1}}
routes:
  - {name: r, match: {regex: /v.*}, split: {a: 100%}}
"""
HINT = "needs the package google-re2, which is not installed: pip install 'crossfade[regex]'"


def test_a_missing_engine_is_an_error_of_the_field(monkeypatch):
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ConfigError) as error:
        load(FILE, "f.yaml", {})
    assert str(error.value) == f"f.yaml:4:30: routes[0].match.regex: {HINT}"


@pytest.mark.parametrize("command", ["check", "run"])
def test_check_and_run_say_which_package_to_install(tmp_path: Path, command: str):
    (tmp_path / "f.yaml").write_text(FILE)
    code = f"import sys; sys.modules['re2'] = None; from crossfade.__main__ import main; sys.exit(main(['{command}', 'f.yaml']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"f.yaml:4:30: routes[0].match.regex: {HINT}" in done.stdout + done.stderr


def test_a_configuration_without_expressions_needs_no_engine(monkeypatch):
    monkeypatch.setitem(sys.modules, "re2", None)
    load(FILE.replace("regex: /v.*", "prefix: /v"), "f.yaml", {})


@given(st.text(alphabet="ab/.*+?|()[]{}1,\\^$-:<P=!", max_size=12))
def test_an_expression_is_compiled_or_refused_with_a_reason(expression: str):
    try:
        compiled(expression).fullmatch(b"a")
    except BadExpression as error:
        assert str(error).startswith("must ")


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "/", ".", "[ab]", "[^a]", "\\.", ""]),
    lambda part: st.one_of(
        st.tuples(part, part).map("".join),
        st.tuples(part, part).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(part, st.sampled_from(["*", "+", "?", "{1,3}"])).map(lambda two: f"(?:{two[0]}){two[1]}"),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, st.text(alphabet="ab/.", max_size=6))
def test_an_expression_means_what_it_means_in_python(expression: str, text: str):
    matches = compiled(expression).fullmatch(text.encode()) is not None
    assert matches is (re.fullmatch(expression, text) is not None)
