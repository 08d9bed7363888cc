"""The log: each record is one line, and nothing in it steers a terminal.

Rule: what a client or a server said may be in a record (a reason, an error), so no character that moves the cursor,
changes colours or direction, or begins another line gets out.
"""

from __future__ import annotations

import logging
import sys
from unicodedata import category

UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    return "".join("\ufffd" if category(c) in UNPRINTABLE else c for c in text)


class LineFormatter(logging.Formatter):
    """A traceback of ours still has its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides
        record.message = printable(record.message)
        return super().formatMessage(record)


def log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
