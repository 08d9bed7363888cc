"""The layout of a configuration: `crossfade fmt`. Comments and the order of keys and routes stay as they are.

Rule: the meaning never changes. The result is read again, and must give the same document and the same comments; else nothing is
formatted. Block collections are indented by two, also sequences below a key; between words of a line there is one space; long
runs of empty lines become one. Lines are never joined or cut, and scalars keep their quotes.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import yaml

INDENT = 2
_OPENS = (yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken)
_CLOSES = (yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


class NotFormatted(ValueError):
    """The text is no YAML, or its layout cannot be changed safely. `line` and `column` count from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class _Collection(NamedTuple):
    """An open block collection: the column of its entries, and their new one.

    `column` is -1 less that column where a sequence stands at the column of its key: nothing says where it ends but the next key.
    """

    column: int
    new: int
    is_sequence: bool


def formatted(text: str) -> str:
    """Raises NotFormatted."""
    source = text.removeprefix("\ufeff").replace("\r\n", "\n")
    tokens = _tokens(source)
    out = _laid_out(source, tokens)
    if _document(out) != _document(source) or _comments(out) != _comments(source):
        raise NotFormatted("its layout cannot be changed without a change of its meaning")
    return out


def _tokens(text: str) -> list[Any]:
    try:
        return list(yaml.scan(text, yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
        raise NotFormatted(error.problem or "not YAML", *place) from None


def _document(text: str) -> Any:
    """Its nodes as plain values, with tags; aliases as what they stand for. Raises NotFormatted."""
    try:
        return [_plain(node) for node in yaml.compose_all(text, yaml.SafeLoader)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
        raise NotFormatted(error.problem or "not YAML", *place) from None


def _plain(node: Any) -> Any:
    if isinstance(node, yaml.MappingNode):
        return node.tag, [(_plain(key), _plain(value)) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return node.tag, [_plain(item) for item in node.value]
    return None if node is None else (node.tag, node.value)


def _comments(text: str) -> list[str]:
    """In order, each without the space around it."""
    lines = text.split("\n")
    covered = _inside_of_scalars(text)
    found = []
    for number, line in enumerate(lines):
        at = _comment_at(line, covered.get(number, []))
        if at >= 0:
            found.append(line[at:].rstrip())
    return found


def _inside_of_scalars(text: str) -> dict[int, list[tuple[int, int]]]:
    """By line, the columns that scalars take."""
    covered: dict[int, list[tuple[int, int]]] = {}
    for token in _tokens(text):
        if isinstance(token, yaml.ScalarToken):
            first, last = token.start_mark, token.end_mark
            for line in range(first.line, last.line + 1):
                begin = first.column if line == first.line else 0
                end = last.column if line == last.line else 1 << 30
                covered.setdefault(line, []).append((begin, end))
    return covered


def _comment_at(line: str, covered: Sequence[tuple[int, int]]) -> int:
    at = line.find("#")
    while at >= 0:
        inside = any(begin <= at < end for begin, end in covered)
        if not inside and (at == 0 or line[at - 1] in " \t"):
            return at
        at = line.find("#", at + 1)
    return -1


# ── layout ────────────────────────────────────────────────────────────────────────────────────────


def _laid_out(text: str, tokens: Sequence[Any]) -> str:
    lines = text.split("\n")
    by_line = _tokens_by_line(tokens)
    columns = _new_columns(tokens)
    held = _continued(tokens)
    covered = _inside_of_scalars(text)
    ordered = sorted(columns)
    shift, out = 0, list[str]()
    for number, line in enumerate(lines):
        if number in held:  # inside of a scalar of several lines
            out.append(_shifted(line, shift) if held[number] else line)
            continue
        here = by_line.get(number, [])
        at = _comment_at(line, covered.get(number, []))
        comment = line[at:].rstrip() if at >= 0 else ""
        if not here:
            column = _comment_column(line, (number, shift), columns, ordered) if comment else 0
            out.append(" " * column + comment)
            continue
        first = here[0].start_mark.column
        if number in columns:
            column = columns[number][0][1]
            shift = columns[number][-1][1] - columns[number][-1][0]
        else:
            column = max(first + shift, 0)
        content = _content(line, here, number)
        gap = line[:at].rstrip() if at >= 0 else ""
        space = max(at - len(gap), 2) if comment else 0
        out.append(" " * column + content + " " * space + comment)
    return _without_empty_runs(out, held)


def _tokens_by_line(tokens: Sequence[Any]) -> dict[int, list[Any]]:
    """The tokens that have characters, by the line on which they begin."""
    out: dict[int, list[Any]] = {}
    for token in tokens:
        if token.start_mark.index < token.end_mark.index and not isinstance(token, yaml.StreamStartToken):
            out.setdefault(token.start_mark.line, []).append(token)
    return out


def _continued(tokens: Sequence[Any]) -> dict[int, bool]:
    """Lines that go on with a scalar of a line before; whether they move with it, as block scalars do."""
    out: dict[int, bool] = {}
    for token in tokens:
        if isinstance(token, yaml.ScalarToken):
            first, last = token.start_mark.line, token.end_mark.line
            is_block = token.style in ("|", ">")
            end = last if is_block and token.end_mark.column == 0 else last + 1
            for line in range(first + 1, end):
                out[line] = True
    return out


def _new_columns(tokens: Sequence[Any]) -> dict[int, list[tuple[int, int]]]:
    """Of each line that begins with an entry of a block collection: (old, new) column of each entry that begins on it."""
    out: dict[int, list[tuple[int, int]]] = {}
    for old, new, line in _entries(tokens):
        out.setdefault(line, []).append((old, new))
    return out


def _entries(tokens: Sequence[Any]) -> Iterator[tuple[int, int, int]]:
    """Each key and dash of a block collection: old column, new column, line."""
    stack: list[_Collection] = []
    flow, line = 0, -1
    for token in tokens:
        flow += isinstance(token, _OPENS) - isinstance(token, _CLOSES)
        column = token.start_mark.column
        if isinstance(token, yaml.BlockMappingStartToken | yaml.BlockSequenceStartToken):
            is_sequence = isinstance(token, yaml.BlockSequenceStartToken)
            stack.append(_Collection(column, stack[-1].new + INDENT if stack else 0, is_sequence))
        elif isinstance(token, yaml.BlockEndToken):
            if stack[-1].is_sequence and _is_implied(stack):
                stack.pop()
            stack.pop()
        elif isinstance(token, yaml.BlockEntryToken) and not flow:
            if not stack[-1].is_sequence:  # a sequence at the column of its key has no start of its own
                stack.append(_Collection(-column - 1, stack[-1].new + INDENT, True))
            yield column, stack[-1].new, token.start_mark.line
        elif isinstance(token, yaml.KeyToken) and not flow:
            if stack[-1].is_sequence and _is_implied(stack) and column <= -stack[-1].column - 1:
                stack.pop()
            yield column, stack[-1].new, token.start_mark.line
        elif isinstance(token, yaml.ValueToken) and not flow and token.start_mark.line != line:
            yield column, stack[-1].new, token.start_mark.line  # of a key that was written as `? key`
        line = token.end_mark.line


def _is_implied(stack: Sequence[_Collection]) -> bool:
    return stack[-1].column < 0


def _content(line: str, here: Sequence[Any], number: int) -> str:
    """The tokens of a line with one space between them, as they are spelled."""
    out = ""
    before: Any = None
    for token in here:
        end = token.end_mark.column if token.end_mark.line == number else len(line)
        spelled = line[token.start_mark.column : end].rstrip()
        if before is not None and _is_space_between(before, token):
            out += " "
        out += spelled
        before = token
    return out


def _is_space_between(before: Any, token: Any) -> bool:
    if isinstance(token, yaml.ValueToken):
        return isinstance(before, yaml.AliasToken)  # a colon may be a part of its name
    return not isinstance(before, _OPENS) and not isinstance(token, (yaml.FlowEntryToken, *_CLOSES))


def _shifted(line: str, shift: int) -> str:
    """A continuation of a scalar: its indentation moves with the line that it began on."""
    content = line.lstrip(" ")
    if not content:
        return ""
    return " " * max(len(line) - len(content) + shift, 1) + content


def _comment_column(
    line: str, place: tuple[int, int], columns: dict[int, list[tuple[int, int]]], ordered: Sequence[int]
) -> int:
    """Of a comment that stands alone: it goes with the next entry, or with what is before it where it is indented like that.

    `place`: its line, and how far the lines before it have moved. `ordered`: the lines in `columns`.
    """
    number, shift = place
    old = len(line) - len(line.lstrip(" "))
    at = bisect(ordered, number)
    near = [columns[n][0] for n in (*ordered[at : at + 1], *ordered[max(at - 1, 0) : at])]
    same = [new for column, new in near if column == old]
    if same:
        return same[0]
    return 0 if at == 0 else max(old + shift, 0)


def _without_empty_runs(lines: list[str], held: dict[int, bool]) -> str:
    out: list[str] = []
    for number, line in enumerate(lines):
        if line or number in held or (out and out[-1]):
            out.append(line)
    while out and not out[-1]:
        out.pop()
    return "\n".join(out) + "\n" if out else ""
