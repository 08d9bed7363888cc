"""The log: one record is one line, and nothing in it steers a terminal."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import threading
from typing import Any

import pytest
import uvloop

from crossfade import log_lines
from crossfade.log_lines import JsonFormatter, LineFormatter, facts, printable
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
    head = "from crossfade.log_lines import log_to_stderr, use; log_to_stderr(); use('text', 'info')"
    script = f"{head}; {code}"
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


# ── as JSON ───────────────────────────────────────────────────────────────────────────────────────

SECRETS = re.compile("hunter22-and-more|/services/T0/B0/xyz")


def as_json(message: str, *arguments: object, **more: object) -> dict[str, Any]:
    record = logging.LogRecord("crossfade.control", logging.WARNING, "f.py", 1, message, arguments, None)
    record.created, record.process = 1_700_000_000.25, 7
    record.__dict__ |= more
    line = JsonFormatter("worker", SECRETS).format(record)
    assert "\n" not in line and line.isprintable()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_of_json_has_the_facts_of_its_record() -> None:
    assert as_json("%s is %s", "v3", "down", **facts("health", backend="v3", up=False)) == {
        "at": "2023-11-14T22:13:20.250+00:00",
        "level": "warning",
        "logger": "crossfade.control",
        "process": "worker",
        "pid": 7,
        "message": "v3 is down",
        "event": "health",
        "backend": "v3",
        "up": False,
    }


def test_no_fact_takes_the_place_of_what_each_line_has() -> None:
    found = as_json("it is so", **facts("health", level="none", message="", pid=0))
    assert (found["level"], found["message"], found["pid"]) == ("warning", "it is so", 7)


def test_json_cannot_steer_a_terminal_either() -> None:
    found = as_json("%s", REASON, **facts("x", reason=REASON, **{REASON: [REASON]}))
    assert "ALL IS WELL" in found["message"]


def test_a_traceback_is_a_list_of_lines() -> None:
    try:
        raise ValueError("of http://user:pass@host")
    except ValueError:
        found = as_json("it failed", exc_info=sys.exc_info())
    assert found["traceback"][0].startswith("Traceback")
    assert found["traceback"][-1] == "ValueError: of http://***@host"


@pytest.mark.parametrize(
    "text",
    [
        "token hunter22-and-more",
        "POST /services/T0/B0/xyz",
        "http://u:hunter22-and-more@h/",
        "redis://u:pw@h",
    ],
)
def test_no_line_holds_a_secret(text: str) -> None:
    found = as_json("%s", text, **facts("x", detail=text, more={"a": [text]}, **{text: 1}))
    plain = LineFormatter("%(message)s", SECRETS).format(logging.makeLogRecord({"msg": text}))
    for said in (json.dumps(found), plain):
        assert not re.search("hunter22|T0/B0|u:|pw@", said)
        assert "***" in said


@pytest.mark.parametrize(
    ("style", "terminal", "is_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("text", False, False)],
)
def test_auto_is_text_on_a_terminal(
    style: str, terminal: bool, is_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(output, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", output)
    handler = log_lines._StderrHandler(output)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    try:
        log_lines.use(style, "warning", ["hunter22-and-more"])
        logging.getLogger("crossfade").info("not written")
        logging.getLogger("crossfade").warning("written: hunter22-and-more")
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    (line,) = output.getvalue().splitlines()
    assert line.startswith("{") == is_json
    assert "written: ***" in line
