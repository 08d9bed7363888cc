"""Exit codes, which scripts may rely on, and the exception that carries one."""

from __future__ import annotations

OK = 0
INVALID = 1  # refused, or not valid
USAGE = 2
UNREACHABLE = 3
UNKNOWN_NAME = 4
TIMED_OUT = 5

EPILOG = """\
exit codes:
  0  done
  1  refused, or the configuration is not valid
  2  the command line is wrong
  3  the admin API cannot be reached
  4  no route, backend or endpoint has this name
  5  the time of --wait is over
"""


class CommandFailed(Exception):
    """`advice` says what to do next."""

    def __init__(self, code: int, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.advice = advice
