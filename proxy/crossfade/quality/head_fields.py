"""Fields of a head, from its bytes: few are read, so the head is not taken apart."""

from __future__ import annotations


class HeadFields:
    """`head`: lines with their ends, with or without the first line."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.lowered = b"\n" + head.lower()

    def find(self, name: bytes) -> str | None:
        """The values of all lines of this name (in small letters), joined by commas; None where there is no line."""
        wanted = b"\n" + name + b":"
        place = self.lowered.find(wanted)
        if place < 0:
            return None
        values = []
        while place >= 0:
            begin = place + len(wanted) - 1  # `lowered` is longer by one byte
            end = self.head.find(b"\n", begin)
            values.append(self.head[begin : end if end >= 0 else None].strip(b" \t\r"))
            place = self.lowered.find(wanted, begin)
        return b", ".join(values).decode("utf-8", "replace")
