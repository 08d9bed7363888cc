"""What the fields of a message say of caches (RFC 9111 section 5), without a clock.

Rule: what is not valid, or not known here, counts as the shortest time.
"""

from __future__ import annotations

from calendar import timegm
from email.utils import parsedate
from typing import Final

FOR_EVER: Final = float("inf")
_LONGEST: Final = 2147483648.0  # seconds: what a larger number means (section 1.2.2)
_NOT_AGAIN: Final = frozenset({b"set-cookie", b"set-cookie2", b"content-range"})
_NEVER: Final = frozenset({b"no-store", b"private", b"no-cache"})
_STREAMS: Final = (b"event-stream", b"ndjson", b"jsonl", b"json-seq", b"stream+json")
_DIGITS: Final = frozenset(b"0123456789")


def directives_of(value: bytes) -> list[tuple[bytes, bytes]]:
    """Names, lower-cased, and arguments without quotes. A comma in quotes divides too: its parts are names that nobody knows."""
    found = []
    for part in value.split(b","):
        name, _, argument = part.partition(b"=")
        found.append((name.strip(b" \t").lower(), argument.strip(b' \t"')))
    return found


def seconds_of(value: bytes, invalid: float) -> float:
    """A number of whole seconds; `invalid` where there is none."""
    if not value or not _DIGITS.issuperset(value):
        return invalid
    return float(value) if len(value) < 10 else _LONGEST


def seconds_of_expires(expires: bytes, date: bytes) -> float:
    """From Date to Expires; 0 where one of them is no date, or Date is missing."""
    begin, end = _time_of(date), _time_of(expires)
    return 0.0 if begin is None or end is None else max(float(end - begin), 0.0)


def _time_of(value: bytes) -> int | None:
    """Seconds since the epoch, of a date as of HTTP or mail."""
    try:
        parsed = parsedate(value.decode("ascii"))
        return None if parsed is None else timegm(parsed)
    except (ValueError, OverflowError):
        return None


class Freshness:
    """What the fields of an answer say. `vary`: the values of Vary; times are in seconds; `again`: whether it may be given again."""

    __slots__ = ("again", "age", "date", "expires", "longest", "shared", "vary")

    def __init__(self, block: bytes) -> None:
        """`block`: the field lines."""
        self.again = True
        self.age = 0.0
        self.longest = self.shared = FOR_EVER
        self.date = self.expires = b""
        self.vary: list[bytes] = []
        for line in block.split(b"\r\n"):
            name, _, value = line.partition(b":")
            self.read(name.lower(), value.strip(b" \t"))

    def read(self, name: bytes, value: bytes) -> None:
        if name == b"cache-control":
            for directive, argument in directives_of(value):
                self.obey(directive, argument)
        elif name in _NOT_AGAIN:
            self.again = False
        elif name == b"content-type":
            self.again = self.again and not _is_stream(value)
        elif name == b"pragma":
            self.again = self.again and value.lower() != b"no-cache"
        elif name == b"vary":
            self.vary.append(value)
        elif name == b"age":
            age = seconds_of(value, -1.0)
            self.age = max(self.age, age)
            self.again = self.again and age >= 0.0
        elif name == b"expires":
            self.expires = value or b"0"
        elif name == b"date":
            self.date = value

    def obey(self, directive: bytes, argument: bytes) -> None:
        if directive in _NEVER:
            self.again = False
        elif directive == b"max-age":
            self.longest = min(self.longest, seconds_of(argument, 0.0))
        elif directive == b"s-maxage":
            self.shared = min(self.shared, seconds_of(argument, 0.0))

    def lifetime(self) -> float:
        """From the making of the answer on: what is said to shared caches counts, then max-age, then Expires."""
        if self.shared != FOR_EVER:
            return self.shared
        if self.longest != FOR_EVER or not self.expires:
            return self.longest
        return seconds_of_expires(self.expires, self.date)


def _is_stream(content_type: bytes) -> bool:
    media_type = content_type.lower()
    return any(media_type.find(mark) >= 0 for mark in _STREAMS)
