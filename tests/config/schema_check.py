"""As much of JSON Schema (draft 7) as the generated schema uses; a word it does not know is an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from crossfade.config.document import Node
from crossfade.config.match import json_scalar

TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
SILENT = {"title", "description", "default", "$schema", "$defs", "properties"}


def as_editors_see(node: Node) -> Any:
    """The value by YAML 1.2's core rules, which editors' YAML support follows."""
    if isinstance(node.value, dict):
        return {key: as_editors_see(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [as_editors_see(element) for element in node.value]
    return None if node.value is None else json_scalar(node.value)


def same(value: Any, wanted: Any) -> bool:
    return bool(value == wanted) and isinstance(value, bool) is isinstance(wanted, bool)


# What one word asks of a value, where the value alone can tell.
TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda value, wanted: any(
        is_of(value, k) for k in ([wanted] if isinstance(wanted, str) else wanted)
    ),
    "enum": lambda value, wanted: any(same(value, one) for one in wanted),
    "const": same,
    "pattern": lambda value, wanted: not isinstance(value, str) or bool(re.search(wanted, value)),
    "required": lambda value, wanted: not isinstance(value, dict) or set(wanted) <= set(value),
    "minProperties": lambda value, wanted: not isinstance(value, dict) or len(value) >= wanted,
    "maxProperties": lambda value, wanted: not isinstance(value, dict) or len(value) <= wanted,
}


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """What is wrong with the value, each with its place; nothing if it is valid."""
    unknown = set(schema) - set(TESTS) - set(BELOW) - SILENT
    assert not unknown, f"the schema uses {unknown}"
    failed = [word for word in TESTS if word in schema and not TESTS[word](value, schema[word])]
    found = [f"{at}: {value!r} is not {word} {schema[word]}" for word in failed]
    for word, descend in BELOW.items():
        if word in schema:
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


BELOW: dict[str, Callable[[Any, dict[str, Any], dict[str, Any], str], list[str]]] = {
    "$ref": referred,
    "anyOf": any_of,
    "additionalProperties": members,
    "items": elements,
}


def is_of(value: Any, kind: str) -> bool:
    if kind in ("number", "integer"):
        return isinstance(value, (int, float) if kind == "number" else int) and not isinstance(value, bool)
    return isinstance(value, TYPES[kind])
