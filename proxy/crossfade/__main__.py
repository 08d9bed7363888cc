"""`crossfade` and `python -m crossfade`: hands over to the command line, or becomes a worker of a running proxy."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["worker"]:  # started by the control process only; needs nothing of the command line
        from crossfade.workers.worker import work

        return work(arguments[1])
    from crossfade.cli import main as command_line

    return command_line(arguments)


if __name__ == "__main__":
    sys.exit(main())
