"""From YAML events to a Document.

Rule: any text gives a Document or a ConfigError, never anything else. Reading ends at a YAML syntax
error, since the rest cannot be parsed reliably; all other problems are collected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    MappingStartEvent,
    ScalarEvent,
    StreamEndEvent,
)
from yaml.reader import Reader

from crossfade.config.document import (
    Document,
    Entry,
    Expanded,
    ExpandedPlain,
    Loc,
    Mark,
    Node,
    Plain,
    Reference,
    path_text,
)
from crossfade.config.environment import expand, has_variables
from crossfade.config.problem import MAX_PROBLEMS, BadValue, ConfigError, Problem, shown

# The deepest real configuration has 7 levels; a very large one has some thousand nodes.
_MAX_DEPTH, _MAX_NODES = 50, 200_000
_MAX_NODES_OF_CLIENT = 50_000  # some seconds of work, which the control process does for anybody who sends it
_READ_AHEAD = (
    1024  # characters: the longest key without "?" (YAML 1.2.2); a parser looks this far ahead for ":"
)
_TOO_DEEP = f"nested more than {_MAX_DEPTH} levels deep"
_NULLS = frozenset({"", "~", "null"})
_KNOWN_TAGS = frozenset({None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))})
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML may lack its C part


def read(
    text: str, source: str, env: Mapping[str, str], known: frozenset[Reference] | None = None
) -> Document:
    """The document with the problems found so far. Raises ConfigError if the YAML cannot be parsed.

    `known`: only these references to the environment are looked up; None: all are.
    """
    _refuse_unprintable(text, source)
    return _document_of(_LOADER, text, source, env, known)


def _document_of(
    parser: Any, text: str, source: str, env: Mapping[str, str], known: frozenset[Reference] | None
) -> Document:
    loader = parser(text)
    tree = TreeBuilder(loader, source, env, known)
    try:
        root = tree.document()
    except yaml.YAMLError as error:
        # libyaml has a depth limit too (1000 levels since 0.2.6). It reads ahead of its events, so it can reach
        # that limit before our own. PyYAML's Python parser has no limit.
        if parser is not yaml.SafeLoader and _nests_too_deep(error, text):
            return _document_of(yaml.SafeLoader, text, source, env, known)
        raise ConfigError((*tree.problems[:MAX_PROBLEMS], _syntax_problem(error, text, source))) from None
    finally:
        loader.dispose()
    if root is None:
        raise ConfigError((Problem(source, 1, 1, "", "the file is empty"),))
    return Document(source, root, tuple(tree.problems), frozenset(tree.broken), frozenset(tree.references))


def _nests_too_deep(error: yaml.YAMLError, text: str) -> bool:
    """Whether the part that the parser read ahead before the error opens more brackets than may nest."""
    mark = getattr(error, "problem_mark", None)
    ahead = text[max(mark.index - _READ_AHEAD, 0) : mark.index] if mark else ""
    return sum(map(ahead.count, "[{")) - sum(map(ahead.count, "]}")) > _MAX_DEPTH


def _refuse_unprintable(text: str, source: str) -> None:
    # The C parser gives no line for these characters, and fails on lone surrogates before it starts.
    found = Reader.NON_PRINTABLE.search(text)
    if found:
        before = text[: found.start()].split("\n")
        message = f"the character U+{ord(found[0]):04X} is not allowed in YAML"
        raise ConfigError((Problem(source, len(before), len(before[-1]) + 1, "", message),))


def _syntax_problem(error: yaml.YAMLError, text: str, source: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if isinstance(error, _RefusedYaml):
        return Problem(source, line, column, "", error.problem)
    message = str(
        getattr(error, "problem", None) or getattr(error, "reason", None) or "the parser cannot read it"
    )
    context, begun = getattr(error, "context", None), getattr(error, "context_mark", None)
    if "cannot start any token" in message:
        message = _invalid_start(text, line, column)
    elif context and begun:
        message += f" ({context} that begins in line {begun.line + 1})"
    return Problem(source, line, column, "", f"not YAML: {message}")


def _invalid_start(text: str, line: int, column: int) -> str:
    lines = text.split("\n")
    found = lines[line - 1][column - 1 : column] if line <= len(lines) else ""
    if found == "\t":
        return "a tab is not allowed here; indent with spaces"
    return f"a value may not begin with {shown(found)} unless it is in quotes"


class _RefusedYaml(yaml.YAMLError):
    """Valid YAML perhaps, but not accepted in a configuration."""

    def __init__(self, problem: str, mark: Mark) -> None:
        super().__init__(problem)
        self.problem = problem
        self.problem_mark = yaml.Mark("", 0, mark.line - 1, mark.column - 1, "", 0)


class TreeBuilder:
    """Reads one document, event by event."""

    def __init__(
        self, loader: Any, source: str, env: Mapping[str, str], known: frozenset[Reference] | None
    ) -> None:
        self.loader = loader
        self.source = source
        self.env = env
        self.known = known
        self.references: set[Reference] = set()
        self.most = _MAX_NODES if known is None else _MAX_NODES_OF_CLIENT
        self.nodes = 0
        self.copied = 0  # values with variables that aliases stand for, and values that are merged
        self.path: list[int | str] = []
        self.depth = 0  # not len(path): a key may be nested too
        self.problems: list[Problem] = []
        self.broken: set[Mark] = set()
        self.anchors: dict[str, Node | None] = {}  # None while its node is being read

    def document(self) -> Node | None:
        self.loader.get_event()  # the start of the stream
        if self.loader.check_event(StreamEndEvent):
            return None
        self.loader.get_event()  # the start of the document
        root = self.node(self.loader.get_event())
        self.loader.get_event()  # its end
        after = self.loader.get_event()
        if not isinstance(after, StreamEndEvent):
            raise _RefusedYaml(
                "a second document begins here; the file must hold one document", _mark_of(after)
            )
        return None if root.value is None else root

    def node(self, event: Any) -> Node:
        if isinstance(event, AliasEvent):
            return self.alias(event)
        if self.depth == _MAX_DEPTH:
            raise _RefusedYaml(_TOO_DEEP, _mark_of(event))
        if event.anchor:
            self.anchors[event.anchor] = None
        self.refuse_tag(event)
        self.depth += 1
        if isinstance(event, ScalarEvent):
            node = self.scalar(event)
        else:
            node = self.mapping(event) if isinstance(event, MappingStartEvent) else self.sequence(event)
        self.depth -= 1
        self.nodes += 1
        if max(node.count, self.nodes) > self.most:
            raise _RefusedYaml(f"holds more than {self.most} values with its aliases expanded", node.mark)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: Any) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            inside = event.anchor in self.anchors
            what = "is inside its own anchor" if inside else "has no anchor before it"
            raise _RefusedYaml(f"the alias *{event.anchor} {what}", _mark_of(event))
        if self.depth + node.height > _MAX_DEPTH:
            raise _RefusedYaml(_TOO_DEEP, _mark_of(event))
        if node.has_variables:
            self.refer_again(node, _mark_of(event))
        return node

    def refer_again(self, node: Node, mark: Mark) -> None:
        """The variables of an anchor's node count at the place of its alias too."""
        self.copy(node.count, mark)
        for path, written in _references_in(node, ()):
            if not self.refer((*self.path, *path), written):
                raise _RefusedYaml(_not_known(written), mark)

    def copy(self, count: int, mark: Mark) -> None:
        """A short text may copy a large mapping or list many times."""
        self.copied += count
        if self.copied > self.most:
            raise _RefusedYaml(f"aliases stand for more than {self.most} values", mark)

    def refer(self, path: Loc, written: str) -> bool:
        """Whether the variables of this scalar may be looked up."""
        reference = path_text(path, any_index=True), written
        self.references.add(reference)
        return self.known is None or reference in self.known

    def scalar(self, event: Any) -> Node:
        mark = _mark_of(event)
        plain = bool(event.implicit[0])
        text = self.expanded(event.value, mark)
        span = event.start_mark.index, event.end_mark.index
        if plain and (event.value in _NULLS or text in _NULLS - {""}):
            return Node(mark, None)
        if text != event.value and has_variables(event.value):
            value = ExpandedPlain(text, event.value) if plain else Expanded(text, event.value)
            return Node(mark, value, has_variables=True, span=span)
        return Node(mark, Plain(text) if plain else text, span=span)

    def expanded(self, text: str, mark: Mark) -> str:
        try:
            if has_variables(text) and not self.refer(tuple(self.path), text):
                raise BadValue(_not_known(text))
            return expand(text, self.env)
        except BadValue as error:
            self.report(mark, str(error))
            self.broken.add(mark)
            return text

    def sequence(self, start: Any) -> Node:
        elements: list[Node] = []
        while not isinstance(event := self.loader.get_event(), CollectionEndEvent):
            elements.append(self.below(len(elements), event))
        return Node(_mark_of(start), elements, *_size_of(elements))

    def mapping(self, start: Any) -> Node:
        entries: dict[str, Entry] = {}
        merged: list[Node] = []
        while not isinstance(event := self.loader.get_event(), CollectionEndEvent):
            mark, key = _mark_of(event), self.key(event)
            node = self.below("?" if key is None else key, self.loader.get_event())
            if key == "<<" and isinstance(event, ScalarEvent) and event.implicit[0]:
                merged += self.merge_sources(node)
            elif key in entries:
                first = entries[key].key
                self.report(mark, f'the key "{key}" is given twice, first in line {first.line}', key)
            elif key is not None:
                entries[key] = Entry(mark, node, f"{key}")
        for source in merged:
            self.copy(len(source.entries), source.mark)
            entries = source.entries | entries
        count, height, varies = _size_of([entry.node for entry in entries.values()])
        varies = varies or any(isinstance(key, Expanded) for key in entries)
        return Node(_mark_of(start), entries, count, height, varies)

    def key(self, event: Any) -> str | None:
        """The key's text; None for a list or a mapping, which is reported."""
        mark = _mark_of(event)
        node = self.node(event)
        if isinstance(node.value, dict | list):
            self.report(mark, f"a key must be text, not {shown(node.value)}")
            return None
        if isinstance(event, ScalarEvent) and node.value is None:
            return str(event.value)
        return node.text or ""

    def merge_sources(self, node: Node) -> list[Node]:
        for source in node.elements:
            if not isinstance(source.value, dict):
                self.report(
                    source.mark, f"<< needs a mapping or a list of mappings, not {shown(source.value)}"
                )
        return node.elements

    def below(self, part: int | str, event: Any) -> Node:
        self.path.append(part)
        node = self.node(event)
        self.path.pop()
        return node

    def refuse_tag(self, event: Any) -> None:
        if event.tag not in _KNOWN_TAGS:
            self.report(_mark_of(event), f"the tag {shown(event.tag)} is not supported")

    def report(self, mark: Mark, message: str, *below: str) -> None:
        path = path_text((*self.path, *below))
        self.problems.append(Problem(self.source, mark.line, mark.column, path, message))


def _size_of(below: list[Node]) -> tuple[int, int, bool]:
    """Of the parent of these nodes: count, height, and whether there are variables in it."""
    return (
        1 + sum(node.count for node in below),
        1 + max((node.height for node in below), default=0),
        any(node.has_variables for node in below),
    )


def _references_in(node: Node, path: Loc) -> Iterator[tuple[Loc, str]]:
    """Each scalar with variables, with its path from the node."""
    if not node.has_variables:
        return
    if isinstance(node.value, dict):
        for key, entry in node.value.items():
            if isinstance(key, Expanded):
                yield path, key.written
            yield from _references_in(entry.node, (*path, entry.written))
    elif isinstance(node.value, list):
        for index, element in enumerate(node.value):
            yield from _references_in(element, (*path, index))
    else:
        yield path, f"{node.value}"


def _not_known(written: str) -> str:
    return (
        f"{shown(written)} is not looked up: a text that comes through the admin API gets the value of a variable "
        "only where the configuration in force has the same; crossfade check looks up all"
    )


def _mark_of(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)
