"""The manual page: every command and option is in it, and man reads it without a complaint."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from crossfade.cli.arguments import build_parser
from crossfade.cli.described import described, options_of_all
from crossfade.cli.manual import exit_codes, page


def test_each_option_of_each_command_is_described_once() -> None:
    commands = {command.name: command for command in described()}
    promote = commands["promote"]
    assert (promote.usage, promote.asks_proxy) == ("crossfade promote [OPTIONS] ROUTE", True)
    assert {"--challenger NAME", "--reason REASON", "--force"} <= {option.name for option in promote.options}
    assert len({option.name for option in promote.options}) == len(promote.options)
    assert commands["value"].usage == "crossfade value [OPTIONS] --if RULE ROUTE"
    assert commands["check"].usage == "crossfade check [OPTIONS] FILE…"
    assert "--admin URL" in [option.name for option in options_of_all()]


def test_each_argument_says_what_it_means() -> None:
    named = {"FILE", "ROUTE", "BACKEND", "URL"}  # their names say it
    silent = [
        f"{command.name} {each.name}"
        for command in described()
        for each in [*command.arguments, *command.options]
        if not each.about and each.name not in named
    ]
    assert silent == []


def test_the_page_has_every_command_and_exit_code() -> None:
    text = page(described())
    for command in described():
        assert f".SS {command.name}\n" in text
    assert [code.name for code in exit_codes()] == [str(number) for number in range(8)]


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="no mandoc here")
async def test_man_reads_the_page_without_a_complaint() -> None:
    text = await asyncio.to_thread(lambda: page(described()))
    mandoc = await asyncio.create_subprocess_exec(
        "mandoc", "-T", "lint", "-W", "error", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await mandoc.communicate(text.encode())
    assert said.decode() == ""


def test_the_help_lists_what_the_manual_lists() -> None:
    text = build_parser().format_help()
    assert all(f"    {command.name}" in text for command in described())
