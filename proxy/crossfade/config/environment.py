"""`${NAME}` and `${NAME:-default}` in a scalar; `$${` stands for a literal `${`.

As in a shell, the default also replaces a variable that is set but empty. The environment is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from crossfade.config.problem import BadValue, shown

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_INNER = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


def expand(text: str, env: Mapping[str, str]) -> str:
    """The text with each reference replaced. Raises BadValue for the first one that cannot be replaced."""
    return _REFERENCE.sub(lambda found: _value_of(found, env), text) if "${" in text else text


def has_variables(text: str) -> bool:
    """Whether its value depends on the environment."""
    return "${" in text and any(found[1] is not None for found in _REFERENCE.finditer(text))


def literals_of(text: str) -> str:
    """The text without its references that have no default: what a reader of the text alone would learn."""
    return _REFERENCE.sub(lambda found: "" if found[1] and ":-" not in found[1] else found[0], text)


def _value_of(found: re.Match[str], env: Mapping[str, str]) -> str:
    if found[1] is None:
        return "${"
    inner = _INNER.fullmatch(found[1])
    if inner is None or not found[2] or "${" in found[1]:
        message = f"must refer to a variable as ${{NAME}} or ${{NAME:-default}}, not {shown(found[0])}"
        raise BadValue(f"{message}; write $${{ for a literal ${{")
    name, default = inner.groups()
    value = env.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise BadValue(f"the environment variable {name} is not set; ${{{name}:-…}} gives it a default")
    return value
