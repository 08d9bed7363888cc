"""The log: one record is one line, and nothing in it steers a terminal."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading

import pytest
import uvloop

from crossfade.log_lines import LineFormatter, printable
from crossfade.workers.worker import work

REASON = "\x1b[2J\x1b[1;31mALL IS WELL\x1b[0m\x1b]0;pwned\x07\x00\x9b31m\u202e"


def formatted(message: str, *arguments: object, **more: object) -> str:
    record = logging.LogRecord("crossfade", logging.INFO, "f.py", 1, message, arguments, None)
    record.__dict__ |= more
    return LineFormatter("%(levelname)s %(name)s: %(message)s").format(record)


def test_a_reason_cannot_steer_the_terminal_or_forge_a_line() -> None:
    line = formatted("churn: pause by %s", f"api: {REASON}\nINFO crossfade: churn: promote by alice")
    assert line.isprintable()
    assert "ALL IS WELL" in line
    assert line.count("\n") == 0


def test_ordinary_text_stays_as_it_is() -> None:
    assert (
        formatted("%s: split 5 %%, çelik 日本 🙂", "churn")
        == "INFO crossfade: churn: split 5 %, çelik 日本 🙂"
    )
    assert printable("a b\u00a0c") == "a b\u00a0c"


def test_a_traceback_has_its_lines() -> None:
    try:
        raise ValueError("of ours")
    except ValueError:
        text = formatted("it failed", exc_info=sys.exc_info())
    assert text.startswith("INFO crossfade: it failed\nTraceback")


SAYING = {
    "an uncaught error": (
        "raise ValueError('of ours')",
        "CRITICAL crossfade: the process ends with an error",
    ),
    "an error in a thread": (
        "import threading; t = threading.Thread(target=int, args='x', name='access-log'); t.start(); t.join()",
        "CRITICAL crossfade: the thread access-log ends with an error",
    ),
    "a warning": (
        "import warnings; warnings.warn('old')",
        "WARNING py.warnings: <string>:1: UserWarning: old",
    ),
    "an error that is ignored": (
        "import types; A = type('A', (), {'__del__': lambda self: 1 / 0}); A()",
        "ERROR crossfade: ",
    ),
}


@pytest.mark.parametrize(("code", "said"), SAYING.values(), ids=SAYING)
def test_what_python_itself_says_has_a_time_and_a_level(code: str, said: str) -> None:
    script = f"from crossfade.log_lines import log_to_stderr; log_to_stderr(); {code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    first = done.stderr.splitlines()[0]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ", first), done.stderr
    assert said in first


def test_each_process_logs_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker too: what a backend's certificate says is in its log."""
    made: list[logging.Handler] = []
    for place, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(place, name, getattr(place, name))  # and afterwards as it was
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)
    monkeypatch.setattr(logging, "basicConfig", lambda level, handlers: made.extend(handlers))
    monkeypatch.setattr(uvloop, "run", lambda work: work.close())
    assert work('{"seam_fd": 0, "listening": []}') == 0
    assert isinstance(made[0].formatter, LineFormatter)
