"""Finds the values at JSON paths of a body as it passes, without the whole body in memory.

    scan = JsonScan(tree_of((("model",), ("user", "id"))))
    scan.feed(part)          # any number of times; the parts may be cut anywhere
    scan.end()               # the body is complete
    scan.found               # all paths have a value
    scan.stop()              # search no further
    scan.value(("model",))   # as the decoder gives it; None: absent, or no single value
    scan.span(("model",))    # (start, end) in bytes of the body, quotes included; None: absent

Rule: until the values are final, the scan accepts what the decoder (msgspec) accepts and finds what the decoder finds;
of a name that an object has twice, the last one counts. If the JSON is not valid, nothing is found (`invalid`).

The values are `final` once all paths are found, or at `stop`: the body can go on to a backend. A later second occurrence of a name
on a path would give the model another value than the proxy has used. So the rest of the body is scanned for
such names alone, and leniently, as lenient models read it; `repeated` says that there is one. The caller then ends
the request.

Each byte is looked at a bounded number of times. What is kept: the bytes of a wanted value or of a name that may be on a path,
a token of at most 12 bytes at the end of a part, and one byte for each open array or object.
"""

from __future__ import annotations

import re
from codecs import utf_8_decode
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec

from crossfade.errors import RequestRefused, Stage

Path = tuple[str, ...]

# What comes next. In a string and in a scalar, the scan is in the middle of a token.
_VALUE: Final = 0
_FIRST_VALUE: Final = 1  # or the end of an array
_NAME: Final = 2
_FIRST_NAME: Final = 3  # or the end of an object
_COLON: Final = 4
_COMMA: Final = 5  # or the end of what is open
_NOTHING: Final = 6  # behind the document
_STRING: Final = 7
_SCALAR: Final = 8
_ENDED: Final = 9

_OBJECT: Final = 1
_ARRAY: Final = 0
_UNWATCHED: Final = -1
_DEEPEST: Final = 10_000  # arrays and objects in one another; a deeper body is not valid (RFC 8259 section 9)
_LONGEST_ESCAPE: Final = 12  # bytes: two \uXXXX for one character
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
_BRACKET: Final = 0x5B
_SCALAR_STARTS: Final = b"-0123456789tfn"
_SPACE_BYTES: Final = b" \t\r\n"

_HEX = rb"[0-9a-fA-F]"
_PAIR = rb"[dD][89abAB]" + _HEX + rb"{2}\\u[dD][c-fC-F]" + _HEX + rb"{2}"
_UNIT = rb"(?:[0-9a-cA-Ce-fE-F]" + _HEX + rb"{3}|[dD][0-7]" + _HEX + rb"{2}|" + _PAIR + rb")"
_ESCAPE = rb'\\(?:["\\/bfnrt]|u' + _UNIT + rb")"
_TEXT = rb'[^"\\\x00-\x1f]*+'
_UTF8 = (
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_SPACE = rb"[ \t\r\n]*+"
_PLAIN = rb'"(?:[ !#-\[\]-\x7f]++|' + _ESCAPE + rb"|" + _UTF8 + rb')*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]{0,17}+)(?:\.[0-9]{1,17}+)?+(?:[eE][+-]?[0-9]{1,2}+)?+"
_ONE = rb"(?:" + _NUMBER + rb"|" + _PLAIN + rb"|true|false|null)"
_MEMBER = _PLAIN + _SPACE + rb":" + _SPACE


def _nested(one: bytes) -> bytes:
    """`one`, or an array or object of such values."""
    rest = _SPACE + rb"(?:," + _SPACE + rb"(?![\]}])|(?=[\]}])))*+"
    array = rb"\[" + _SPACE + rb"(?:" + one + rest + rb"\]"
    members = rb"\{" + _SPACE + rb"(?:" + _MEMBER + one + rest + rb"\}"
    return rb"(?:" + one + rb"|" + array + rb"|" + members + rb")"


_SMALL = _nested(_nested(_ONE))
_STRICT_TEXT: Final = re.compile(_TEXT + rb"(?:" + _ESCAPE + _TEXT + rb")*+")
_LENIENT_TEXT: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SPACES: Final = re.compile(_SPACE)
_PLAIN_STRING: Final = re.compile(_PLAIN)
_PLAIN_SCALAR: Final = re.compile(_NUMBER + rb"|true|false|null")
_STRICT_SCALAR: Final = re.compile(rb"[-+.0-9A-Za-z]*+")
_LENIENT_SCALAR: Final = re.compile(rb'[^ \t\r\n,:"\[\]{}]*+')
_ITEMS: Final = re.compile(rb"(?:" + _SPACE + _SMALL + _SPACE + rb",)*+")  # most values of an array, at once
_MEMBERS: Final = re.compile(rb"(?:" + _SPACE + _MEMBER + _SMALL + _SPACE + rb",)*+")
_DECODE: Final = msgspec.json.Decoder().decode


class PathTree:
    """Paths as a tree of names. Nodes are numbered so that a node's descendants follow it, up to `last`."""

    __slots__ = ("children", "last", "longest_name", "paths", "wanted")

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(dict.fromkeys(paths))
        self.children: list[dict[str, int]] = []
        self.wanted: list[int] = []  # of each node, the index of the path that ends there, or -1
        self.last: list[int] = []
        self.longest_name = max([len(name) for path in self.paths for name in path], default=0)
        self.grow(0, list(range(len(self.paths))))

    def grow(self, depth: int, within: list[int]) -> int:
        """Add the node that the paths `within` have in common; returns its number."""
        node = len(self.children)
        names: dict[str, list[int]] = {}
        ends = -1
        for index in within:
            path = self.paths[index]
            if len(path) == depth:
                ends = index
            else:
                names.setdefault(path[depth], []).append(index)
        children: dict[str, int] = {}
        self.children.append(children)
        self.wanted.append(ends)
        self.last.append(node)
        for name, below in names.items():
            children[name] = self.grow(depth + 1, below)
        self.last[node] = len(self.children) - 1
        return node


@lru_cache(maxsize=1024)
def tree_of(paths: tuple[Path, ...]) -> PathTree:
    return PathTree(paths)


class JsonScan:
    """One body. `found` and `repeated` do not depend on where the parts are cut."""

    __slots__ = (
        "at",
        "began",
        "final",
        "found",
        "here",
        "indexes",
        "invalid",
        "is_name",
        "keeps",
        "kept",
        "kinds",
        "left",
        "nodes",
        "open_wanted",
        "parts",
        "refused_beyond",
        "repeated",
        "seen",
        "spans",
        "state",
        "steps",
        "tail",
        "tree",
        "values",
    )

    def __init__(self, tree: PathTree) -> None:
        self.tree = tree
        n = len(tree.paths)
        self.values: list[Any] = [None] * n
        self.spans: list[tuple[int, int] | None] = [None] * n
        self.left = n  # paths without a value so far
        self.found = self.final = n == 0
        self.invalid = self.repeated = False
        self.refused_beyond = 0  # see `value`
        self.state = _VALUE
        self.kinds = bytearray()  # of the open arrays and objects
        self.nodes: list[int] = []  # the tree's nodes of those that are on a path, from the root on
        self.indexes: list[int] = []  # of these, the index of the present item
        self.here = 0  # the node of the next value
        self.seen = bytearray(len(tree.children))
        self.open_wanted: list[tuple[int, int, int]] = []  # path, depth, start
        self.at = 0  # offset in the body of the next part
        self.tail = b""  # the end of the last part, where a token was cut
        self.parts: list[bytes] = []  # of the token that is being read
        self.kept = self.began = 0
        self.is_name = self.keeps = False
        self.steps = 0  # tokens and parts of tokens: the measure of the work

    # ── for the caller ────────────────────────────────────────────────────────────────────────

    @property
    def ended(self) -> bool:
        """Whether nothing more can be learnt from the body."""
        return self.state == _ENDED

    def value(self, path: Path) -> Any:
        """Raises RequestRefused if the path may be behind the part that was read, and `refused_beyond` says how long that is."""
        index = self.tree.paths.index(path)
        if self.refused_beyond and self.spans[index] is None:
            raise RequestRefused(
                Stage.LIMIT,
                f"The JSON field {'.'.join(path)} was not found in the first {self.refused_beyond} bytes of the body.",
            )
        return self.values[index]

    def span(self, path: Path) -> tuple[int, int] | None:
        return self.spans[self.tree.paths.index(path)]

    def feed(self, data: bytes) -> None:
        """The next part of the body."""
        base = self.at - len(self.tail)
        self.at += len(data)
        if self.tail:
            data, self.tail = self.tail + data, b""
        place, end = 0, len(data)
        while place < end and self.state != _ENDED:
            self.steps += 1
            if self.state == _STRING:
                place = self.read_string(data, place, base)
            elif self.state == _SCALAR:
                place = self.read_scalar(data, place, base)
            else:
                place = self.read_token(data, place, base)

    def stop(self) -> None:
        """Search no further: what was found so far is final."""
        self.final = True
        if not self.is_name or self.state == _SCALAR:
            self.keeps = False
            self.parts.clear()

    def end(self) -> None:
        """The body is complete."""
        if self.state == _ENDED:
            return
        if self.state == _SCALAR:
            self.end_scalar(self.at)
        if self.state != _NOTHING:
            self.fail()
        self.state = _ENDED

    # ── tokens ────────────────────────────────────────────────────────────────────────────────

    def read_token(self, data: bytes, place: int, base: int) -> int:
        """Read white space, or the token that begins here. Returns where the next one begins."""
        byte = data[place]
        if byte in _SPACE_BYTES:
            spaces = _SPACES.match(data, place)
            return place + 1 if spaces is None else spaces.end()
        state = self.state
        if state <= _FIRST_NAME and byte != _BRACKET and len(self.nodes) < len(self.kinds):
            behind = self.skip_usual(data, place, state)
            if behind > place:
                return behind
        if state <= _FIRST_VALUE:
            return self.begin_value(data, place, base, byte)
        if state <= _FIRST_NAME:
            if byte == _QUOTE:
                self.is_name = True
                self.keeps = len(self.nodes) == len(self.kinds)
                return self.begin_string(data, place, base)
            if byte == 0x7D and state == _FIRST_NAME:
                self.close(base + place + 1)
            else:
                self.fail()
        elif state == _COLON and byte == 0x3A:
            self.state = _VALUE
        elif state == _COMMA and byte == 0x2C:
            self.go_on()
        elif state == _COMMA and byte == (0x7D if self.kinds[-1] == _OBJECT else 0x5D):
            self.close(base + place + 1)
        else:
            self.fail()
        return place + 1

    def skip_usual(self, data: bytes, place: int, state: int) -> int:
        """Skip small values or members and their commas, in what is on no path. Returns where they end."""
        is_object = self.kinds[-1] == _OBJECT
        if is_object != (state >= _NAME):  # at the value of a member
            return place
        run = (_MEMBERS if is_object else _ITEMS).match(data, place)
        if run is None or run.end() == place:
            return place
        self.state = _NAME if is_object else _VALUE
        return run.end()

    def begin_value(self, data: bytes, place: int, base: int, byte: int) -> int:
        if byte == _QUOTE:
            self.is_name = False
            self.keeps = not self.final and self.is_wanted()
            return self.begin_string(data, place, base)
        if byte == 0x7B:
            self.open(_OBJECT, base + place)
        elif byte == 0x5B:
            self.open(_ARRAY, base + place)
        elif byte == 0x5D and self.state == _FIRST_VALUE:
            self.close(base + place + 1)
        elif not self.final and byte not in _SCALAR_STARTS:
            self.fail()
        else:
            self.state = _SCALAR
            self.began = base + place
            self.keeps = not self.final
            return place
        return place + 1

    def is_wanted(self) -> bool:
        return self.here >= 0 and self.tree.wanted[self.here] >= 0

    def begin_string(self, data: bytes, place: int, base: int) -> int:
        self.began = base + place
        whole = _PLAIN_STRING.match(data, place)
        if whole is not None:
            if self.keeps:
                self.parts.append(whole.group())
            self.end_string(base + whole.end())
            return whole.end()
        if self.keeps:
            self.keep(b'"')
        self.state = _STRING
        return place + 1

    def read_string(self, data: bytes, place: int, base: int) -> int:
        """Read a string up to its end, or to the end of the part."""
        strict = not self.final
        text = (_STRICT_TEXT if strict else _LENIENT_TEXT).match(data, place)
        end = place if text is None else text.end()
        part, size = data[place:end], len(data)
        if strict and not part.isascii():
            try:
                read = utf_8_decode(part, "strict", end < size)[1]
            except UnicodeDecodeError:
                return self.fail()
            if read < len(part):
                self.tail = part[read:]
                part = part[:read]
        if self.keeps:
            self.keep(part)
        if end == size:
            return size
        if data[end] == _QUOTE:
            if self.keeps:
                self.keep(b'"')
            self.end_string(base + end + 1)
            return end + 1
        if data[end] == _BACKSLASH and size - end < _LONGEST_ESCAPE:
            self.tail = data[end:]
            return size
        return self.fail()

    def keep(self, part: bytes) -> None:
        """Keep a part of the token, unless it is a name that is longer than all on paths."""
        self.kept += len(part)
        if self.is_name and self.kept > _LONGEST_ESCAPE * self.tree.longest_name + 2:
            self.keeps = False
            self.parts.clear()
        else:
            self.parts.append(part)

    def token(self) -> bytes:
        """The kept token; the next one begins."""
        token = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        self.kept = 0
        return token

    def end_string(self, end: int) -> None:
        token = self.token()
        if self.is_name:
            self.here = _UNWATCHED
            self.state = _COLON
            if self.keeps:
                self.enter(decoded(token))
        else:
            self.end_value(decoded(token) if self.keeps else None, end)

    def read_scalar(self, data: bytes, place: int, base: int) -> int:
        """Read a number, `true`, `false` or `null`. It ends before the byte that cannot be part of it."""
        scalar = (_LENIENT_SCALAR if self.final else _STRICT_SCALAR).match(data, place)
        end = place if scalar is None else scalar.end()
        if self.keeps:
            self.parts.append(data[place:end])
        if end < len(data):
            self.end_scalar(base + end)
        return end

    def end_scalar(self, end: int) -> None:
        token = self.token()
        value = None
        if self.final:
            if end == self.began:
                self.fail()
                return
        elif self.is_wanted() or _PLAIN_SCALAR.fullmatch(token) is None:
            value = decoded(token)
            if value is None and token != b"null":
                self.fail()
                return
        self.end_value(value, end)

    # ── structure ─────────────────────────────────────────────────────────────────────────────

    def open(self, kind: int, start: int) -> None:
        here, tree = self.here, self.tree
        if here >= 0:
            if tree.wanted[here] >= 0:
                self.open_wanted.append((tree.wanted[here], len(self.kinds), start))
            if tree.children[here]:
                self.nodes.append(here)
                self.indexes.append(0)
        if len(self.kinds) == _DEEPEST:
            self.fail()
            return
        self.kinds.append(kind)
        self.state = _FIRST_VALUE if kind == _ARRAY else _FIRST_NAME
        self.here = _UNWATCHED
        if kind == _ARRAY and len(self.nodes) == len(self.kinds):
            self.here = tree.children[here].get("0", _UNWATCHED)

    def close(self, end: int) -> None:
        self.kinds.pop()
        depth = len(self.kinds)
        if len(self.nodes) > depth:
            self.nodes.pop()
            self.indexes.pop()
        self.here = _UNWATCHED
        if self.open_wanted and self.open_wanted[-1][1] == depth:
            index, _, start = self.open_wanted.pop()
            self.find(index, None, start, end)
        self.state = _COMMA if depth else _NOTHING

    def go_on(self) -> None:
        """Behind a comma."""
        if self.kinds[-1] == _OBJECT:
            self.state = _NAME
            return
        self.state = _VALUE
        self.here = _UNWATCHED
        if len(self.nodes) == len(self.kinds):
            self.indexes[-1] += 1
            self.here = self.tree.children[self.nodes[-1]].get(str(self.indexes[-1]), _UNWATCHED)

    def enter(self, name: Any) -> None:
        """Behind a name of an object that is on a path."""
        tree = self.tree
        node = tree.children[self.nodes[-1]].get(name, _UNWATCHED)
        if node < 0:
            return
        if self.seen[node]:
            if self.final:
                self.repeated = True
                self.state = _ENDED
                return
            self.forget(node)
        self.seen[node] = 1
        self.here = node

    def forget(self, node: int) -> None:
        """The name came before in this object: the last one counts, as in the decoder."""
        for below in range(node, self.tree.last[node] + 1):
            self.seen[below] = 0
            index = self.tree.wanted[below]
            if index >= 0 and self.spans[index] is not None:
                self.values[index] = self.spans[index] = None
                self.left += 1

    def end_value(self, value: Any, end: int) -> None:
        """Behind a string or a scalar."""
        self.state = _COMMA if self.kinds else _NOTHING
        if self.here >= 0 and not self.final:
            index = self.tree.wanted[self.here]
            if index >= 0:
                self.find(index, value, self.began, end)

    def find(self, index: int, value: Any, start: int, end: int) -> None:
        if not self.final:
            self.values[index], self.spans[index] = value, (start, end)
            self.left -= 1
            self.found = self.final = not self.left

    def fail(self) -> int:
        """The JSON is not valid. Values that are not final do not count."""
        self.state = _ENDED
        self.invalid = True
        if not self.final:
            self.values = [None] * len(self.values)
            self.spans = [None] * len(self.spans)
        return 0


def decoded(token: bytes) -> Any:
    """The value of a token, or None."""
    try:
        return _DECODE(token)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
