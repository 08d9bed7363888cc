"""The command line: which command there is, and how it ends.

Rule: a command imports what it needs when it runs, so that `--help` and `status` need neither the
server nor the configuration's machinery. Commands return an exit code or raise CommandFailed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from crossfade.cli.exits import CommandFailed


def main(argv: Sequence[str]) -> int:
    """Runs one command and gives its exit code; a wrong command line raises SystemExit(2)."""
    from crossfade.cli.arguments import build_parser

    arguments = build_parser().parse_args(argv)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no UTF-8 is no reason to fail
    try:
        code: int = arguments.act(arguments)
        sys.stdout.flush()
    except CommandFailed as failed:
        return report(failed)
    except BrokenPipeError:  # `crossfade status | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code


def report(failed: CommandFailed) -> int:
    from crossfade.cli.output import say

    say(f"crossfade: {failed}", sys.stderr)
    if failed.advice:
        say(failed.advice, sys.stderr)
    return failed.code
