"""Completion: what is offered for a line, and that the shells that are here offer it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from crossfade.cli.arguments import build_parser
from crossfade.cli.completing import FILES, _words_of, offers
from crossfade.cli.exits import UNREACHABLE, CommandFailed
from crossfade.cli.parsing import handler_of
from tests.admin.site import Site
from tests.cli.conftest import Shell

TIMEOUT = 60.0  # seconds
PARSER = build_parser()
ANSWERS: dict[str, Any] = {
    "routes": {
        "routes": [
            {"name": "churn", "split": {"v2": 0.95, "v3": 0.05}},
            {"name": "fraud", "split": {"v2": 1.0}},
        ]
    },
    "backends": {
        "backends": [
            {
                "name": "v2",
                "version": "2",
                "endpoints": [{"url": "http://a:1", "up": True}, {"url": "http://b:1", "up": False}],
            },
            {"name": "v3", "version": None, "endpoints": []},
        ]
    },
    "rollouts": {
        "rollouts": [
            {"route": "churn", "challenger": "v3", "phase": "paused"},
            {"route": "fraud", "challenger": "v9", "phase": "paused"},
        ]
    },
}


def offered(line: str) -> list[str]:
    return [found.value for found in offers(PARSER, _words_of(f"crossfade {line}"), ANSWERS.__getitem__)]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("prom", ["promote"]),
        ("promote ", ["churn", "fraud"]),
        ("promote f", ["fraud"]),
        ("promote churn ", []),
        ("promote churn --challenger ", ["v3"]),
        ("promote --challenger ", ["v3", "v9"]),
        ("promote --reason because ch", ["churn"]),
        ("promote churn --ch", ["--challenger"]),
        ("split churn ", ["v2=", "v3="]),
        ("split churn v2=95% ", ["v3="]),
        ("drain v2 ", ["http://a:1", "http://b:1"]),
        ("drain v3 ", []),
        ("status --wait prom", ["promoted"]),
        ("events --route ", ["churn", "fraud"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("check ", [FILES]),
        ("check routing.yaml ", [FILES]),
        ("check --j", ["--json"]),
        ("plan old.yaml ", [FILES]),
        ("explain --config ", [FILES]),
        ("nonsense ", []),
        ("promote 'chu", ["churn"]),
    ],
)
def test_what_is_offered(line: str, values: list[str]) -> None:
    assert offered(line) == values


def test_all_commands_are_offered_and_no_hidden_option() -> None:
    assert set(offered("")) >= {"run", "status", "explain", "completion"}
    assert "__complete" not in offered("")
    assert "-s" not in offered("explain -") and "--header" in offered("explain -")


def test_a_proxy_that_is_not_there_offers_nothing() -> None:
    def unreachable(path: str) -> Any:
        raise CommandFailed(UNREACHABLE, "refused")

    assert list(offers(PARSER, ["promote", ""], unreachable)) == []


def test_every_command_has_its_function() -> None:
    commands: Any = PARSER._subparsers
    for command in commands._group_actions[0].choices.values():
        assert callable(handler_of(command.get_default("handler")))


@pytest.mark.parametrize("words", [("--help",), ("promote", "--help"), ("__complete", "zsh", "st")])
async def test_help_and_completion_wait_for_no_large_package(words: tuple[str, ...]) -> None:
    script = (
        "import sys\nfrom crossfade.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'aiohttp', 'pydantic', 'rich', 'msgspec', 'yaml', 'ssl', 'uvloop', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), TIMEOUT)
    assert process.returncode == 0, errors.decode()


async def test_the_proxy_that_the_line_names_is_asked(site: Site, shell: Shell) -> None:
    found = await shell.run("__complete", "bash", f"crossfade promote --admin {site.url} ")
    assert (found.code, found.out) == (0, "churn\n")
    found = await shell.run("__complete", "fish", "drain", "--admin", site.url, "v4", "")
    assert found.out == "http://127.0.0.1:9004\t\n"
    found = await shell.run("__complete", "bash", f"crossfade drain --admin {site.url} v4 http://127")
    assert found.out == "//127.0.0.1:9004\n"  # bash takes what stands before the colon for a word


@pytest.fixture
def environment(tmp_path: Path, site: Site) -> dict[str, str]:
    command = tmp_path / "crossfade"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m crossfade "$@"\n')
    command.chmod(0o755)
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "CROSSFADE_ADMIN_URL": site.url,
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }


LINES = {
    "crossfade prom": "promote",
    "crossfade promote chu": "churn",
    "crossfade promote churn --challenger ": "v3",
    "crossfade split churn v4": "v4=",
}


async def shown_by(shell: str, script: str, environment: dict[str, str]) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        shell,
        *("--norc", "-c") if shell == "bash" else ("-f", "-c") if shell == "zsh" else ("--no-config", "-c"),
        script,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    out, _ = await asyncio.wait_for(process.communicate(), TIMEOUT)
    return out.decode().splitlines()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
async def test_bash_completes(environment: dict[str, str]) -> None:
    setup = "source <(crossfade completion bash); COMP_WORDS=(crossfade)"
    call = '_crossfade; printf "%s\\n" "${COMPREPLY[@]}"'
    for line, value in LINES.items():
        script = f"{setup}; COMP_LINE='{line}'; COMP_POINT={len(line)}; {call}"
        assert await shown_by("bash", script, environment) == [value]
    line = "crossfade drain v4 http://127"
    script = f"{setup}; COMP_LINE='{line} more'; COMP_POINT={len(line)}; {call}"
    assert await shown_by("bash", script, environment) == ["//127.0.0.1:9004"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
async def test_zsh_completes(environment: dict[str, str]) -> None:
    setup = "compdef() { }; compadd() { print -l -- $values }; source <(crossfade completion zsh)"
    for line, value in LINES.items():
        words = " ".join(word or "''" for word in line.split(" "))
        script = f"{setup}; words=({words}); CURRENT=$#words; _crossfade"
        assert await shown_by("zsh", script, environment) == [value]


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
async def test_fish_completes(environment: dict[str, str]) -> None:
    for line, value in LINES.items():
        script = f"crossfade completion fish | source; complete -C '{line}'"
        found = await shown_by("fish", script, environment)
        assert [shown.partition("\t")[0] for shown in found] == [value]
