"""Regular expressions of the configuration, matched by RE2.

Rule: the time for a match is at most proportional to the length of the text. Python's `re` tries alternatives one
after another: for `(a+)+b` each further `a` of a path doubles its time. RE2 has neither look-around nor
backreferences, which need such a search. The size of an expression is bounded too, since it multiplies that time.

RE2 is an extra of the package (`regex`), imported only where an expression is written.
"""

from __future__ import annotations

from typing import Any

INSTALL = "pip install 'crossfade[regex]'"
LONGEST = 1000  # characters of an expression
LARGEST = 1000  # instructions of its program: a repeat such as x{1,200} makes many of few characters
LARGEST_WITH_GROUPS = 200
_MEMORY = 1024 * 1024  # bytes for the automaton of one expression, in each worker
_LOOK_AROUND = ("(?=", "(?!", "(?<=", "(?<!")


class BadExpression(ValueError):
    """The expression cannot be used; the message says why."""


def compiled(expression: str, captures: bool = False) -> Any:
    """An object with `fullmatch`, for bytes. Raises BadExpression.

    `captures`: a match tells its groups. That takes another search, so the expression must be smaller.
    """
    try:
        import re2
    except ImportError:
        raise BadExpression(f"needs the package google-re2, which is not installed: {INSTALL}") from None
    if len(expression) > LONGEST or not expression.isascii():
        raise BadExpression(f"must be at most {LONGEST} characters of ASCII")
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # a byte is a character
    options.never_capture = not captures
    options.max_mem = _MEMORY
    options.log_errors = False  # to stderr
    try:
        pattern = re2.compile(expression.encode(), options)
    except re2.error as error:
        reason = error.args[0].decode("latin-1")
        raise BadExpression(
            f"must be a regular expression of RE2: {_explained(reason, expression)}"
        ) from None
    largest = LARGEST_WITH_GROUPS if captures else LARGEST
    if pattern.programsize > largest:
        raise BadExpression(
            f"must compile to at most {largest} instructions, not {pattern.programsize}: repeats such as {{1,200}} cost most"
        )
    return pattern


def _explained(reason: str, expression: str) -> str:
    """RE2's reason, with the position of the part that it quotes, and the usual name of what it does not have."""
    what, _, part = reason.rpartition(": ")
    start = expression.find(part) if part else -1
    if start < 0:
        return reason
    if part[:1] == "\\" and part[1:].isdigit():
        what = "backreferences are not supported"
    elif expression.startswith(_LOOK_AROUND, start):
        what = "look-ahead and look-behind are not supported"
        part = next(each for each in reversed(_LOOK_AROUND) if expression.startswith(each, start))
    return f"{what}: {part} at position {start}"
