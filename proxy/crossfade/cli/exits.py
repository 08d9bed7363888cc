"""Exit codes, which scripts may rely on, and the exception that carries one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OK = 0
INVALID = 1  # refused, or not valid
USAGE = 2
UNREACHABLE = 3
UNKNOWN_NAME = 4
TIMED_OUT = 5
ROWS_LEFT = 6
ENDED_OTHERWISE = 7

EPILOG = """\
exit codes:
  0  done
  1  refused, or the configuration is not valid
  2  the command line is wrong
  3  the admin API cannot be reached, or cannot write now
  4  no route, backend or endpoint has this name
  5  the time of --wait or --timeout is over
  6  some rows of feedback were refused, or have no prediction; all others are taken
  7  status --wait: the rollout has ended in another phase
"""


class CommandFailed(Exception):
    """`advice` says what to do next. `problem`: the answer of the admin API, if that refused it."""

    def __init__(
        self, code: int, message: str, advice: str = "", problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.advice = advice
        self.problem = problem or {}
