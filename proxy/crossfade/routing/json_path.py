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

from codecs import utf_8_decode
from typing import Any, Final

from crossfade.routing.json_grammar import (
    BACKSLASH,
    BRACKET,
    ITEMS,
    LENIENT_SCALAR,
    LENIENT_TEXT,
    LONGEST_ESCAPE,
    MEMBERS,
    PLAIN_SCALAR,
    PLAIN_STRING,
    QUOTE,
    SCALAR_STARTS,
    SPACE_BYTES,
    SPACES,
    STRICT_SCALAR,
    STRICT_TEXT,
    decoded,
)
from crossfade.routing.path_values import ARRAY, OBJECT, PathTree, PathValues

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

_DEEPEST: Final = 10_000  # arrays and objects in one another; a deeper body is not valid (RFC 8259 section 9)


class JsonScan(PathValues):
    """One body. `found` and `repeated` do not depend on where the parts are cut."""

    __slots__ = (
        "at",
        "began",
        "invalid",
        "is_name",
        "keeps",
        "kept",
        "parts",
        "state",
        "steps",
        "tail",
    )

    def __init__(self, tree: PathTree) -> None:
        super().__init__(tree)
        self.invalid = False
        self.state = _VALUE
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
        if byte in SPACE_BYTES:
            spaces = SPACES.match(data, place)
            return place + 1 if spaces is None else spaces.end()
        state = self.state
        if state <= _FIRST_NAME and byte != BRACKET and len(self.nodes) < len(self.kinds):
            behind = self.skip_usual(data, place, state)
            if behind > place:
                return behind
        if state <= _FIRST_VALUE:
            return self.begin_value(data, place, base, byte)
        if state <= _FIRST_NAME:
            if byte == QUOTE:
                self.is_name = True
                self.keeps = len(self.nodes) == len(self.kinds)
                return self.begin_string(data, place, base)
            if byte == 0x7D and state == _FIRST_NAME:
                self.end_container(base + place + 1)
            else:
                self.fail()
        elif state == _COLON and byte == 0x3A:
            self.state = _VALUE
        elif state == _COMMA and byte == 0x2C:
            self.go_on()
        elif state == _COMMA and byte == (0x7D if self.kinds[-1] == OBJECT else 0x5D):
            self.end_container(base + place + 1)
        else:
            self.fail()
        return place + 1

    def skip_usual(self, data: bytes, place: int, state: int) -> int:
        """Skip small values or members and their commas, in what is on no path. Returns where they end."""
        is_object = self.kinds[-1] == OBJECT
        if is_object != (state >= _NAME):  # at the value of a member
            return place
        run = (MEMBERS if is_object else ITEMS).match(data, place)
        if run is None or run.end() == place:
            return place
        self.state = _NAME if is_object else _VALUE
        return run.end()

    def begin_value(self, data: bytes, place: int, base: int, byte: int) -> int:
        if byte == QUOTE:
            self.is_name = False
            self.keeps = not self.final and self.is_wanted()
            return self.begin_string(data, place, base)
        if byte == 0x7B:
            self.begin_container(OBJECT, base + place)
        elif byte == 0x5B:
            self.begin_container(ARRAY, base + place)
        elif byte == 0x5D and self.state == _FIRST_VALUE:
            self.end_container(base + place + 1)
        elif not self.final and byte not in SCALAR_STARTS:
            self.fail()
        else:
            self.state = _SCALAR
            self.began = base + place
            self.keeps = not self.final
            return place
        return place + 1

    def begin_string(self, data: bytes, place: int, base: int) -> int:
        self.began = base + place
        whole = PLAIN_STRING.match(data, place)
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
        text = (STRICT_TEXT if strict else LENIENT_TEXT).match(data, place)
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
        if data[end] == QUOTE:
            if self.keeps:
                self.keep(b'"')
            self.end_string(base + end + 1)
            return end + 1
        if data[end] == BACKSLASH and size - end < LONGEST_ESCAPE:
            self.tail = data[end:]
            return size
        return self.fail()

    def keep(self, part: bytes) -> None:
        """Keep a part of the token, unless it is a name that is longer than all on paths."""
        self.kept += len(part)
        if self.is_name and self.kept > LONGEST_ESCAPE * self.tree.longest_name + 2:
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
            self.leave_name()
            self.state = _COLON
            if self.keeps:
                self.enter(decoded(token))
                if self.repeated:
                    self.state = _ENDED
        else:
            self.end_value(decoded(token) if self.keeps else None, end)

    def read_scalar(self, data: bytes, place: int, base: int) -> int:
        """Read a number, `true`, `false` or `null`. It ends before the byte that cannot be part of it."""
        scalar = (LENIENT_SCALAR if self.final else STRICT_SCALAR).match(data, place)
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
        elif self.is_wanted() or PLAIN_SCALAR.fullmatch(token) is None:
            value = decoded(token)
            if value is None and token != b"null":
                self.fail()
                return
        self.end_value(value, end)

    # ── structure ─────────────────────────────────────────────────────────────────────────────

    def begin_container(self, kind: int, start: int) -> None:
        """An array or an object."""
        if len(self.kinds) == _DEEPEST:
            self.fail()
            return
        self.open(kind, start)
        self.state = _FIRST_VALUE if kind == ARRAY else _FIRST_NAME

    def end_container(self, end: int) -> None:
        self.close(end)
        self.state = _COMMA if self.kinds else _NOTHING

    def go_on(self) -> None:
        """Behind a comma."""
        if self.kinds[-1] == OBJECT:
            self.state = _NAME
        else:
            self.state = _VALUE
            self.next_item()

    def end_value(self, value: Any, end: int) -> None:
        """Behind a string or a scalar."""
        self.state = _COMMA if self.kinds else _NOTHING
        self.find_here(value, self.began, end)

    def fail(self) -> int:
        """The JSON is not valid."""
        self.state = _ENDED
        self.invalid = True
        self.discard()
        return 0
