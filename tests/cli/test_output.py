"""How things are printed: aligned plain text into a pipe, rich tables on a terminal, never control characters."""

from __future__ import annotations

import io

import pytest

from crossfade.cli.output import Table, clean, say, show

TABLE = Table("Things", ("name", "n#"), [["a", "1"], ["longer", "100"]])


def test_plain_tables_are_aligned_and_numbers_stand_right(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE)
    assert capsys.readouterr().out == "\nThings\nname      n\na         1\nlonger  100\n"


def test_tables_without_rows_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show(Table("Things", ("name",), []))
    assert capsys.readouterr().out == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_rich_table(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    show(Table("Verdicts", ("check", "verdict"), [["[red]x[/red]\x1b]0;owned\x07", "FAIL"]]))
    shown = terminal.getvalue()
    assert "[red]x[/red]" in shown and "FAIL" in shown
    assert "\x1b[1;31m" in shown  # the verdict's colour
    assert "\x1b]" not in shown and "\x07" not in shown


@pytest.mark.parametrize("bad", ["\x1b[2J", "\r", "\x00", "\x9b2J", "\u202e", "\u2028", "\u200f"])
def test_control_characters_are_shown_as_what_they_are_not(bad: str) -> None:
    assert clean(f"a{bad}b")[:2] == "a\ufffd"
    assert clean(f"a{bad}b").endswith("b")


def test_text_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say("12\u202f400 Kunden über\n  5%")
    assert capsys.readouterr().out == "12\u202f400 Kunden über\n  5%\n"
