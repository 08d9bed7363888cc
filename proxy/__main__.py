"""`crossfade` and `python -m proxy`: hands over to the command line."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    from proxy.cli import main as command_line

    return command_line(arguments)


if __name__ == "__main__":
    sys.exit(main())
