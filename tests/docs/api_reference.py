"""docs/api.md from the table of operations and from the types that they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crossfade.admin.openapi import document
from crossfade.admin.operation import Operation
from crossfade.admin.operations import OPERATIONS

ROLES = {
    "open": "everybody",
    "viewer": "a viewer or an operator",
    "feedback": "who sends feedback, or an operator",
    "operator": "an operator",
}


def reference() -> str:
    shown = document("", OPERATIONS)
    schemas = shown["components"]["schemas"]
    operations = [_section(operation, shown) for operation in OPERATIONS]
    types = [_type(name, schemas[name]) for name in sorted(schemas)]
    return "\n\n".join(["## Operations", *operations, "## Types", *types])


def _section(operation: Operation, shown: dict[str, Any]) -> str:
    described = shown["paths"][operation.shown_path][operation.method.lower()]
    lines = [f"### {operation.method} {operation.shown_path}", "", f"{operation.summary}.", ""]
    lines.append(f"- For {ROLES[operation.role]}.")
    for name, role in operation.role_with.items():
        lines.append(f"- With `{name}=true`: for {ROLES[role]}.")
    if "requestBody" in described:
        content = described["requestBody"]["content"]
        kinds = dict.fromkeys(f"{words(each['schema'])}" for each in content.values())
        media = ", ".join(f"`{each}`" for each in content)
        lines.append(f"- Body: {' or '.join(kinds)}, as {media}.")
    lines += [f"- {line}" for line in _statuses(described)]
    return "\n".join([*lines, *_parameters(described)])


def _statuses(described: dict[str, Any]) -> Iterator[str]:
    errors = []
    for status, answer in described["responses"].items():
        if int(status) >= 400:
            errors.append(status)
        else:
            kinds = dict.fromkeys(words(each["schema"]) for each in answer.get("content", {}).values())
            said = "" if answer["description"] == "OK" else f" {answer['description']}."
            yield f"{status}: {' or '.join(kinds) or 'no content'}.{said}"
    yield f"Errors: {', '.join(errors)}."


def _parameters(described: dict[str, Any]) -> list[str]:
    rows = [
        f"| `{each['name']}` | {each['in']} | {words(each['schema'])} | {_note(each)} |"
        for each in described.get("parameters", [])
    ]
    head = ["", "| parameter | in | type | |", "|---|---|---|---|"]
    return head + rows if rows else []


def _note(parameter: dict[str, Any]) -> str:
    default = parameter["schema"].get("default")
    notes = [parameter.get("description", "").replace("|", "\\|")]
    notes += ["required"] if parameter.get("required") and parameter["in"] != "path" else []
    notes += [f"`{default}` if not given"] if default not in (None, [], "", False) else []
    return "; ".join(note for note in notes if note)


def _type(name: str, schema: dict[str, Any]) -> str:
    lines = [f"### {name}", ""]
    if described := schema.get("description", "").replace("\n\n", " ").replace("\n", " "):
        lines += [" ".join(described.split()), ""]
    if "enum" in schema:
        return "\n".join([*lines, f"One of {', '.join(f'`{each}`' for each in schema['enum'])}."])
    rows = [f"| `{field}` | {words(of)} |" for field, of in schema.get("properties", {}).items()]
    return "\n".join([*lines, "| field | type |", "|---|---|", *rows]).rstrip()


def words(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(words(each) for each in schema[key]))
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        parts = schema.get("prefixItems") or [schema.get("items") or {}]
        return "list of " + " and ".join(dict.fromkeys(words(each or {}) for each in parts))
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {words(schema['additionalProperties'])}"
    return f"{kind}{_limits(schema)}"


def _limits(schema: dict[str, Any]) -> str:
    named = (("minimum", "from"), ("maximum", "to"), ("maxLength", "of at most"))
    return "".join(f" {word} {schema[key]}" for key, word in named if key in schema)
