"""Output: aligned plain text into a pipe, rich tables on a terminal, and no control characters."""

from __future__ import annotations

import io

import pytest

from crossfade.cli.output import Table, print_table, print_text
from crossfade.log_lines import printable

TABLE = Table("Things", ("name", "n#"), [["a", "1"], ["longer", "100"]])


def test_plain_tables_are_aligned_with_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(TABLE)
    assert capsys.readouterr().out == "\nThings\nname      n\na         1\nlonger  100\n"


def test_a_table_without_rows_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(Table("Things", ("name",), []))
    assert capsys.readouterr().out == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_rich_table(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_table(Table("Verdicts", ("check", "verdict"), [["[red]x[/red]\x1b]0;owned\x07", "FAIL"]]))
    printed = terminal.getvalue()
    assert "[red]x[/red]" in printed and "FAIL" in printed
    assert "\x1b[1;31m" in printed  # the verdict's colour
    assert "\x1b]" not in printed and "\x07" not in printed


def test_no_color_takes_the_colours_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = {}
    for value in ("", "1"):
        monkeypatch.setenv("NO_COLOR", value)
        monkeypatch.setattr("sys.stdout", terminal := Terminal())
        print_table(Table("Checks", ("verdict",), [["PASS"]]))
        shown[value] = terminal.getvalue()
    assert "\x1b[32m" in shown[""] and "\x1b[3" not in shown["1"].replace("\x1b[3m", "")
    assert "PASS" in shown["1"]


@pytest.mark.parametrize("bad", ["\x1b[2J", "\r", "\x00", "\x9b2J", "\u202e", "\u2028", "\u200f"])
def test_control_characters_are_replaced(bad: str) -> None:
    assert printable(f"a{bad}b")[:2] == "a\ufffd"
    assert printable(f"a{bad}b").endswith("b")


def test_printable_unicode_text_is_not_changed(capsys: pytest.CaptureFixture[str]) -> None:
    print_text("12\u202f400 Kunden über\n  5%")
    assert capsys.readouterr().out == "12\u202f400 Kunden über\n  5%\n"
