"""Edits of the text of a configuration file: only what is edited changes; comments and all else stay, byte for byte.

The text must be a valid configuration. Places come from YAML's own marks.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml


class NoSuchPlace(Exception):
    """The text has no such route or key, or has it behind an alias, which cannot be edited in place."""


def with_value(text: str, route: str, key: str, value: str) -> str:
    """With this value, written as flow YAML, for a key of a route. Raises NoSuchPlace."""
    _, node = _entry(text, route, key)
    return text[: node.start_mark.index] + value + text[_end_of(node) :]


def without_key(text: str, route: str, key: str) -> str:
    """Without a key of a route, and without the comment behind it on its line. Raises NoSuchPlace."""
    name, node = _entry(text, route, key)
    start = text.rfind("\n", 0, name.start_mark.index) + 1
    before = text[start : name.start_mark.index]
    if before.strip():  # in a flow mapping, or the first key of a list's element
        raise NoSuchPlace(f"`{key}` of route {route} does not begin its line")
    end = text.find("\n", _end_of(node))
    return text[:start] + ("" if end < 0 else text[end + 1 :])


def _entry(text: str, route: str, key: str) -> tuple[yaml.Node, yaml.Node]:
    """The key and the value of the route's entry."""
    for mapping in _routes(text):
        entries = {name.value: (name, value) for name, value in mapping.value}
        if "name" in entries and entries["name"][1].value == route and key in entries:
            name, value = entries[key]
            if value.start_mark.index < name.start_mark.index:
                raise NoSuchPlace(f"`{key}` of route {route} is an alias")
            return name, value
    raise NoSuchPlace(f"no route {route} with the key `{key}`")


def _routes(text: str) -> Iterator[yaml.MappingNode]:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for name, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if name.value == "routes" and isinstance(value, yaml.SequenceNode):
            yield from (each for each in value.value if isinstance(each, yaml.MappingNode))


def _end_of(node: yaml.Node) -> int:
    """Where the node's own text ends. A block's mark is where the next token begins, after blank lines and comments."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return node.end_mark.index
    last = node.value[-1]
    return _end_of(last[1] if isinstance(last, tuple) else last)
