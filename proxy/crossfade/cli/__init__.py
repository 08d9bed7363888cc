"""The command line: parses the arguments, runs the command and returns its exit code.

Rule: a command imports what it needs when it runs, so that `--help` and `status` start fast: they load
neither the server nor the configuration parser. Commands return an exit code or raise CommandFailed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from crossfade.cli.exits import CommandFailed

COMPLETE = "__complete"  # what the shells' functions call; no command of an operator


def main(argv: Sequence[str]) -> int:
    """Runs one command and returns its exit code; an unknown option raises SystemExit(2)."""
    from crossfade.cli.arguments import build_parser
    from crossfade.cli.parsing import handler_of, refuse_unknown

    if argv[:1] == [COMPLETE]:
        from crossfade.cli.completing import complete

        return complete(argv[1:])
    parser = build_parser()
    try:
        refuse_unknown(parser, argv)
    except CommandFailed as failed:
        return report(failed)
    arguments = parser.parse_args(argv)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # do not fail on a terminal without UTF-8
    try:
        code = handler_of(arguments.handler)(arguments)
        sys.stdout.flush()
    except CommandFailed as failed:
        return report(failed)
    except BrokenPipeError:  # `crossfade status | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code


def report(failed: CommandFailed) -> int:
    from crossfade.cli.output import print_text

    print_text(f"crossfade: {failed}", sys.stderr)
    if failed.advice:
        print_text(failed.advice, sys.stderr)
    return failed.code
