"""The log: each record is one line, and nothing in it steers a terminal.

Rule: what a client or a server said may be in a record (a reason, an error), so no character that moves the cursor,
changes colours or direction, or begins another line gets out. Whatever a process writes to stderr while it serves has a
time and a level, also what Python itself has to say.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from unicodedata import category

UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

log = logging.getLogger("crossfade")


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
    logging.captureWarnings(True)
    sys.excepthook = _on_uncaught
    threading.excepthook = _on_uncaught_in_thread
    sys.unraisablehook = _on_unraisable


def _on_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("the process ends with an error", exc_info=(kind, error, trace))


def _on_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else "?"
    log.critical("the thread %s ends with an error", name, exc_info=args.exc_value)


def _on_unraisable(args: sys.UnraisableHookArgs) -> None:
    log.error("%s: %r", args.err_msg or "an error is ignored", args.object, exc_info=args.exc_value)
