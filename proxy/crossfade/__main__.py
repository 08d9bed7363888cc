"""`crossfade` and `python -m crossfade`: runs the command line, or becomes a worker or the observer of a running proxy."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["worker"]:  # the control process starts workers; they load nothing of cli/
        from crossfade.workers.worker import work

        return work(arguments[1])
    if arguments[:1] == ["observer"]:
        from crossfade.observer.process import observe

        return observe(arguments[1])
    from crossfade.cli import main as run_command

    return run_command(arguments)


if __name__ == "__main__":
    sys.exit(main())
