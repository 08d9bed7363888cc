"""Edits of a routing YAML that leave all else as it is: comments, order, spelling.

Rule: an edit replaces, adds or removes one value in the text, by the places that the YAML parser gives. The result is parsed again,
and must have exactly the values that were meant; otherwise nothing is edited and the error says what to write by hand.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

Keys = Sequence[str | int]
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./:%-]*")


class Quoted(str):
    """A string that would be read as something else without quotes, such as the version 3."""


class EditError(Exception):
    """The file cannot be edited: the message says where and why."""


def values(text: str) -> Any:
    """All scalars as strings, as they are written. Raises EditError."""
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise EditError(f"the file is no YAML: {error}") from None


def flow(value: Any) -> str:
    """One line of YAML. Scalars are strings, numbers or booleans."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(name)}: {flow(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    needs_quotes = not _PLAIN.fullmatch(text) or text[-1] == ":"
    if isinstance(value, Quoted):
        needs_quotes = needs_quotes or not isinstance(yaml.safe_load(text), str)
    return json.dumps(text) if needs_quotes else text


def put(text: str, keys: Keys, value: Any) -> str:
    """Replaces the value at the path of keys and indices, or adds it to its mapping or list."""
    meant = values(text)
    inner = _at(meant, keys[:-1])
    key = keys[-1]
    if isinstance(inner, list) and isinstance(key, int):
        inner[key:] = [_as_read(value), *inner[key + 1 :]]
    elif isinstance(inner, dict) and isinstance(key, str):
        inner[key] = _as_read(value)
    else:
        raise EditError(f"{_path(keys[:-1])} is no mapping and no list")
    return _checked(_put(text, keys, flow(value)), meant, f"{_path(keys)}: {flow(value)}")


def cut(text: str, keys: Keys) -> str:
    """Removes a key of a mapping, or an item of a list."""
    meant = values(text)
    inner = _at(meant, keys[:-1])
    try:
        del inner[keys[-1]]
    except (KeyError, IndexError, TypeError):
        raise EditError(f"{_path(keys)} is not there") from None
    return _checked(_cut(text, keys), meant, f"no {_path(keys)}")


def _at(meant: Any, keys: Keys) -> Any:
    for n, key in enumerate(keys):
        try:
            meant = meant[key]
        except (KeyError, IndexError, TypeError):
            raise EditError(f"{_path(keys[: n + 1])} is not there") from None
    return meant


def _as_read(value: Any) -> Any:
    return copy.deepcopy(values(flow(value)))


def _checked(text: str, meant: Any, what: str) -> str:
    try:
        found = values(text)
    except EditError:
        found = None
    if found != meant:
        raise EditError(f"the file is written in a way that cannot be edited here; write by hand: {what}")
    return text


def _path(keys: Keys) -> str:
    return ".".join(map(str, keys)) or "the file"


def _node(text: str, keys: Keys) -> tuple[yaml.CollectionNode, yaml.Node | None]:
    """The collection that holds the last key, and the value there (None: there is none)."""
    node: Any = yaml.compose(text, Loader=yaml.BaseLoader)
    found: Any = node
    for key in keys:
        node = found
        if isinstance(node, yaml.MappingNode):
            found = next((value for name, value in node.value if name.value == key), None)
        else:
            found = node.value[key] if isinstance(key, int) and key < len(node.value) else None
    return node, found


def _end(node: yaml.Node) -> int:
    """Where the text of a node ends: the parser takes the blank lines and comments behind a block collection along."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _put(text: str, keys: Keys, new: str) -> str:
    holder, value = _node(text, keys)
    if value is not None:
        start, end = value.start_mark.index, _end(value)
        is_block = isinstance(value, yaml.CollectionNode) and not value.flow_style
        if (
            is_block and text[:start].rpartition("\n")[2].strip() == ""
        ):  # on a line of its own: behind the colon instead
            start = len(text[:start].rstrip())
            new = f" {new}"
        elif not text[start:end].strip():  # an empty value
            new = f" {new}"
        return text[:start] + new + text[end:]
    entry = new if isinstance(holder, yaml.SequenceNode) else f"{flow(keys[-1])}: {new}"
    if holder.flow_style:
        end = holder.end_mark.index - 1
        body = text[holder.start_mark.index + 1 : end].rstrip()
        comma = ", " if body and not body.endswith(",") else ""
        return text[: holder.start_mark.index + 1] + body + comma + entry + text[end:]
    dash = "- " if isinstance(holder, yaml.SequenceNode) else ""
    end = _end(holder)
    line_end = text.find("\n", end) if "\n" in text[end:] else len(text)
    indent = " " * holder.start_mark.column
    return f"{text[:line_end]}\n{indent}{dash}{entry}{text[line_end:]}"


def _cut(text: str, keys: Keys) -> str:
    holder, value = _node(text, keys)
    assert value is not None and isinstance(holder, yaml.CollectionNode)
    items = [
        (each[0].start_mark.index, _end(each[1]))
        if isinstance(each, tuple)
        else (each.start_mark.index, _end(each))
        for each in holder.value
    ]
    n = next(
        n for n, each in enumerate(holder.value) if (each[1] if isinstance(each, tuple) else each) is value
    )
    start, end = items[n]
    if holder.flow_style:
        if n + 1 < len(items):
            return text[:start] + text[items[n + 1][0] :]
        return text[: items[n - 1][1] if n else start] + text[end:]
    if len(items) == 1:
        raise EditError(f"{_path(keys)} is the last of {_path(keys[:-1])}, and stays")
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end) + 1 or len(text)
    first = text[line_start:start].rpartition("- ")
    if n == 0 and first[1] and not isinstance(holder, yaml.SequenceNode):
        # `- key: …` begins an item of a list: the next key takes its place.
        return text[:start] + text[items[1][0] :]
    return text[:line_start] + text[line_end:]
