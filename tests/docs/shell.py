"""The commands in a block of shell, as far as pages write such: no loops are followed, and a here-document is skipped."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

_SEPARATORS = {"&&", "||", "|", ";", "&", "(", ")", ";;"}
_KEYWORDS = {"if", "then", "else", "fi", "while", "until", "do", "done", "{", "}", "!", "time"}
_SUBSTITUTED = re.compile(r"\$\(((?:[^()]|\([^()]*\))*)\)")
_ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)


def _logical_lines(text: str) -> Iterator[str]:
    """Lines joined where a backslash or an open quote goes on; without the text of here-documents."""
    so_far, until = "", ""
    for line in text.splitlines():
        if until:
            until = "" if line.strip() == until else until
            continue
        so_far += line
        if so_far.endswith("\\"):
            so_far = so_far[:-1]
            continue
        try:
            shlex.split(so_far, comments=True)
        except ValueError:
            so_far += "\n"
            continue
        if here := re.search(r"<<-?\s*'?\"?(\w+)", so_far):
            until = here[1]
            so_far = so_far[: here.start()] + so_far[here.end() :].lstrip("'\"")
        yield so_far
        so_far = ""
    if so_far:
        raise ValueError(f"a quote is not closed: {so_far!r}")


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command; assignments before it and redirections are taken out."""
    for line in _logical_lines(text):
        for inner in _SUBSTITUTED.findall(line):
            yield from commands(inner)
        lexer = shlex.shlex(_SUBSTITUTED.sub("SUBSTITUTED", line), posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        yield from _split(list(lexer))


def _split(tokens: list[str]) -> Iterator[list[str]]:
    words = list[str]()
    skipped = False
    for token in [*tokens, ";"]:
        if skipped:  # the file of a redirection
            skipped = False
        elif token in _SEPARATORS:
            if words:
                yield words
            words = []
        elif set(token) <= set("<>&"):
            skipped = True
            if words and words[-1] in ("1", "2"):
                words.pop()
        elif words or not (_ASSIGNED.fullmatch(token) or token in _KEYWORDS or token == "sudo"):
            words.append(token)
