"""Problems of a configuration, each with its place.

Rule: a problem has its place for an editor (`file:line:column`, counted from 1) and its path in the YAML
(`routes[0].split`), and says what to write instead if that is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Severity = Literal["error", "warning"]

# Limits of the search for similar words: a longer word is no typing error, and more words take too long.
_MAX_WORD_LENGTH, _MAX_CHOICES = 80, 2000
MAX_PROBLEMS = 1000  # more than anybody reads
MAX_SUGGESTIONS = 50  # of one kind: a file with more wrong names is no file with typing errors


_CREDENTIALS = re.compile(r"(?<=://)[^\s/?#@]*@")


@dataclass(frozen=True, slots=True)
class Problem:
    source: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str | None = None
    severity: Severity = "error"

    def __str__(self) -> str:
        kind = "warning: " if self.severity == "warning" else ""
        path = f"{self.path}: " if self.path else ""
        hint = f'; did you mean "{self.suggestion}"?' if self.suggestion else ""
        return f"{self.source}:{self.line}:{self.column}: {kind}{path}{self.message}{hint}"


def place_of(problem: Problem) -> tuple[int, int]:
    return problem.line, problem.column


class ConfigError(Exception):
    """The configuration is not valid. `problems` are all problems in file order, warnings included."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems, key=place_of))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class BadValue(ValueError):
    """A value is not valid. A caller that knows the place makes it a Problem."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


class UnknownKey(BadValue):
    def __init__(self, key: str, choices: Iterable[str]) -> None:
        super().__init__(f"unknown key {shown(key)}", nearest(key, choices))


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most similar to the word; None if none is similar."""
    word = f"{word}"  # a variable as it is written: what it stands for is no typing error
    known = [choice for choice in choices if len(choice) <= _MAX_WORD_LENGTH]
    if len(word) > _MAX_WORD_LENGTH or len(known) > _MAX_CHOICES:
        return None
    folded = {choice.lower(): choice for choice in reversed(known)}
    found = get_close_matches(word.lower(), folded, n=1)
    return folded[found[0]] if found else None


def shown(value: object) -> str:
    """The value as messages show it: short, on one line, and only the kind of a mapping or list."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = without_credentials(format(value) if isinstance(value, str) else str(value))
    text = text if len(text) <= 60 else text[:57] + "..."
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return f'"{printable}"' if isinstance(value, str) else printable


def without_credentials(text: str) -> str:
    """The text with the user name and password of each URL in it as `***`."""
    return _CREDENTIALS.sub("***@", text)


def listed(choices: Iterable[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *most, last = choices
    return f"{', '.join(most)} or {last}" if most else last
