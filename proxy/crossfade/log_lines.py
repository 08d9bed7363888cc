"""The log: each record is one line, as text or as JSON, and nothing in it steers a terminal or gives a secret away.

Rule: what a client or a server said may be in a record (a reason, an error), so no character that moves the cursor,
changes colours or direction, or begins another line gets out; nor do the passwords of URLs, and the secrets of the configuration.
Whatever a process writes to stderr while it serves has a time and a level, also what Python itself has to say.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from unicodedata import category

from crossfade.config.problem import without_credentials

UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MASK = "***"
_NOTHING = re.compile("(?!)")

log = logging.getLogger("crossfade")


def printable(text: str) -> str:
    return "".join("\ufffd" if category(c) in UNPRINTABLE else c for c in text)


def facts(event: str, **more: object) -> dict[str, Any]:
    """`extra` of a record about such an event: what its line has as JSON, beside the text. Values are JSON values."""
    return {"facts": {"event": event, **more}}


class LineFormatter(logging.Formatter):
    """For people. A traceback of ours still has its lines. `secrets`: is found in no line."""

    def __init__(self, fmt: str = TEXT, secrets: re.Pattern[str] = _NOTHING) -> None:
        super().__init__(fmt)
        self.secrets = secrets

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides
        record.message = printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return self.shown(super().format(record))

    def shown(self, text: str) -> str:
        return self.secrets.sub(MASK, without_credentials(text))


class JsonFormatter(LineFormatter):
    """For programs: one object in a line, with the facts of the record. `process`: control, worker or observer."""

    def __init__(self, process: str, secrets: re.Pattern[str] = _NOTHING) -> None:
        super().__init__(secrets=secrets)
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self.process,
            "pid": record.process,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in getattr(record, "facts", {}).items() if key not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info).splitlines()
        return json.dumps(self._masked(line), ensure_ascii=False)

    def _masked(self, value: Any) -> Any:
        """Before it is encoded: a secret with a quote in it is another text behind that."""
        if isinstance(value, str):
            return printable(self.shown(value))
        if isinstance(value, dict):
            return {self._masked(str(key)): self._masked(part) for key, part in value.items()}
        return [self._masked(part) for part in value] if isinstance(value, list | tuple) else value


class _StderrHandler(logging.StreamHandler[Any]):
    """The one that `use` changes."""

    process = "control"


def log_to_stderr(process: str = "control") -> None:
    """As `format: auto` does, until the configuration is known."""
    handler = _StderrHandler(sys.stderr)
    handler.process = process
    handler.setFormatter(_formatter("auto", process, ()))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    sys.excepthook = _on_uncaught
    threading.excepthook = _on_uncaught_in_thread
    sys.unraisablehook = _on_unraisable


def use(style: str, level: str, secrets: Iterable[str] = ()) -> None:
    """From now on. `style`: auto, json or text; `secrets`: texts that no line may hold."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, _StderrHandler):
            root.setLevel(level.upper())
            handler.setFormatter(_formatter(style, handler.process, secrets))


def _formatter(style: str, process: str, secrets: Iterable[str]) -> logging.Formatter:
    longest_first = sorted(set(secrets), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else _NOTHING
    is_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    return JsonFormatter(process, pattern) if is_json else LineFormatter(TEXT, pattern)


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
