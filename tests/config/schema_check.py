"""The part of JSON Schema (draft 7) that the generated schema uses; an unknown keyword is an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from crossfade.config.document import Node
from crossfade.config.match import json_scalar

TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
IGNORED = {"title", "description", "default", "$schema", "$defs", "properties"}


def value_in_editors(node: Node) -> Any:
    """The value by the core schema of YAML 1.2, as editors read it."""
    if isinstance(node.value, dict):
        return {key: value_in_editors(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [value_in_editors(element) for element in node.value]
    return None if node.value is None else json_scalar(node.value)


def equal(value: Any, wanted: Any) -> bool:
    return bool(value == wanted) and isinstance(value, bool) is isinstance(wanted, bool)


# The keywords that look at the value alone.
TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda value, wanted: any(
        is_of(value, k) for k in ([wanted] if isinstance(wanted, str) else wanted)
    ),
    "enum": lambda value, wanted: any(equal(value, one) for one in wanted),
    "const": equal,
    "pattern": lambda value, wanted: not isinstance(value, str) or bool(re.search(wanted, value)),
    "required": lambda value, wanted: not isinstance(value, dict) or set(wanted) <= set(value),
    "minProperties": lambda value, wanted: not isinstance(value, dict) or len(value) >= wanted,
    "maxProperties": lambda value, wanted: not isinstance(value, dict) or len(value) <= wanted,
}


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """The faults of the value, each with its place; none if it is valid."""
    unknown = set(schema) - set(TESTS) - set(DESCENDING) - IGNORED
    assert not unknown, f"the schema uses {unknown}"
    failed = [
        keyword for keyword in TESTS if keyword in schema and not TESTS[keyword](value, schema[keyword])
    ]
    found = [f"{at}: {value!r} is not {keyword} {schema[keyword]}" for keyword in failed]
    for keyword, descend in DESCENDING.items():
        if keyword in schema:
            found += descend(value, schema, root, at)
    return found


def referred(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str) -> list[str]:
    return faults(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)


def any_of(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str) -> list[str]:
    tried = [faults(value, one, root, at) for one in schema["anyOf"]]
    return [] if [] in tried else [f"{at}: {value!r} is none of these: {tried}"]


def members(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str) -> list[str]:
    found: list[str] = []
    for key, member in value.items() if isinstance(value, dict) else ():
        expected = schema.get("properties", {}).get(key, schema["additionalProperties"])
        found += (
            [f"{at}: {key} is unknown"]
            if expected is False
            else faults(member, expected, root, f"{at}.{key}")
        )
    return found


def elements(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str) -> list[str]:
    below = value if isinstance(value, list) else []
    return [
        f for n, element in enumerate(below) for f in faults(element, schema["items"], root, f"{at}[{n}]")
    ]


DESCENDING: dict[str, Callable[[Any, dict[str, Any], dict[str, Any], str], list[str]]] = {
    "$ref": referred,
    "anyOf": any_of,
    "additionalProperties": members,
    "items": elements,
}


def is_of(value: Any, kind: str) -> bool:
    if kind in ("number", "integer"):
        return isinstance(value, (int, float) if kind == "number" else int) and not isinstance(value, bool)
    return isinstance(value, TYPES[kind])
