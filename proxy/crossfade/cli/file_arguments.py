"""The commands that need no proxy: plan, completion, man."""

from __future__ import annotations

import argparse

from crossfade.cli.parsing import Commands, add


def add_for_files(commands: Commands[argparse.ArgumentParser]) -> None:
    _add_plan(commands)
    shell = add(
        commands, "completion", "completion.completion", "print what a shell reads to complete crossfade"
    )
    shell.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
    add(commands, "man", "manual.manual", "print the manual page: `crossfade man | man -l -`")


def _add_plan(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "show who moves where, which routes change and what mirrors add when file NEW follows file OLD"
    planned = add(commands, "plan", "plan.plan", about)
    planned.add_argument("old", metavar="OLD", help="- reads standard input")
    planned.add_argument("new", metavar="NEW", help="- reads standard input")
    planned.add_argument(
        "--rate",
        metavar="ROUTE=N",
        action="append",
        default=[],
        help="requests a second on this route, to show copies in requests a second",
    )
    planned.add_argument("--json", action="store_true", help="print JSON")
