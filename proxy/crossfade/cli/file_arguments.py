"""The commands that need no proxy: init, quick, fmt, plan, completion, man."""

from __future__ import annotations

import argparse

from crossfade.cli.parsing import Commands, add


def add_for_files(commands: Commands[argparse.ArgumentParser]) -> None:
    _add_init(commands)
    _add_quick(commands)
    _add_fmt(commands)
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


def _add_init(commands: Commands[argparse.ArgumentParser]) -> None:
    about = (
        "write a first configuration: from three answers, or from what the model servers say of themselves"
    )
    first = add(commands, "init", "init.init", about)
    first.add_argument(
        "--from",
        dest="urls",
        metavar="URL",
        action="append",
        default=[],
        help="the model server that serves now; given twice, the second has the new version",
    )
    first.add_argument(
        "--sticky",
        metavar="KEY",
        default="",
        help="what names a customer: json:customer_id, header:NAME, client_ip",
    )
    first.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="routing.yaml",
        help="- for standard output (default: routing.yaml)",
    )
    first.add_argument("--force", action="store_true", help="write over a file that is there")
    first.add_argument("--json", action="store_true", help="print what was found as JSON")


def _add_quick(commands: Commands[argparse.ArgumentParser]) -> None:
    quick = add(commands, "quick", "quick.quick", "serve without a file, to try a split")
    quick.add_argument(
        "--to",
        metavar="NAME=URL[@SHARE]",
        action="append",
        required=True,
        help="a version, such as v2=http://127.0.0.1:8002@10%%; those without a share have what is left, alike",
    )
    quick.add_argument(
        "--sticky", metavar="KEY", default="", help="json:customer_id, header:NAME or client_ip"
    )
    quick.add_argument(
        "--listen", metavar="ADDRESS", default="127.0.0.1:8080", help="for clients (default: 127.0.0.1:8080)"
    )
    quick.add_argument(
        "--admin-listen", metavar="ADDRESS", default="127.0.0.1:9901", help="(default: 127.0.0.1:9901)"
    )
    quick.add_argument(
        "--state", metavar="FILE", default="", help="keep the state there (default: it is gone at the end)"
    )
    quick.add_argument("--print", dest="show", action="store_true", help="print the configuration and end")


def _add_fmt(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "lay configuration files out alike; comments and the order of keys stay as they are"
    layout = add(commands, "fmt", "fmt.fmt", about)
    layout.add_argument(
        "files", metavar="FILE", nargs="+", help="- reads standard input and writes standard output"
    )
    layout.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 if a file would change"
    )
    layout.add_argument("--diff", action="store_true", help="the same, and print what would change")
    layout.add_argument("--json", action="store_true", help="print which files change as JSON")
