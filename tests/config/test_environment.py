"""References to the environment in a scalar, and what is said of those that cannot be replaced."""

from __future__ import annotations

import pytest

from crossfade.config.environment import expand
from crossfade.config.problem import BadValue

ENV = {"NAME": "value", "EMPTY": "", "_x9": "7", "NESTED": "${NAME}"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("nothing to replace: $NAME $5 {NAME} }", "nothing to replace: $NAME $5 {NAME} }"),
        ("${NAME}", "value"),
        ("a${NAME}b${_x9}c", "avalueb7c"),
        ("${EMPTY}", ""),
        ("${NAME:-default}", "value"),
        ("${EMPTY:-default}", "default"),
        ("${MISSING:-default}", "default"),
        ("${MISSING:-}", ""),
        ("${MISSING:-a:-b}", "a:-b"),
        ("${MISSING:-two\nlines}", "two\nlines"),
        ("$${NAME}", "${NAME}"),
        ("$${NAME} ${NAME}", "${NAME} value"),
        ("${NESTED}", "${NAME}"),  # what a variable holds is not looked at again
    ],
)
def test_references_are_replaced(text: str, value: str):
    assert expand(text, ENV) == value


def test_a_variable_that_is_not_set_is_named():
    with pytest.raises(BadValue) as caught:
        expand("${NAME} ${MISSING} ${OTHER}", ENV)
    assert (
        caught.value.message
        == "the environment variable MISSING is not set; ${MISSING:-…} gives it a default"
    )


@pytest.mark.parametrize(
    "text", ["${}", "${9}", "${A B}", "${NAME", "${NAME-x}", "${MISSING:-${NAME}}", "${:-x}"]
)
def test_what_is_no_reference_is_refused(text: str):
    with pytest.raises(BadValue, match=r"must refer to a variable as .* write \$\$\{ for a literal \$\{$"):
        expand(f"a {text}", ENV)
