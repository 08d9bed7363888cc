"""What the commands that measure have in common: numbers on the command line, progress, and an end that stops all processes."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from loadtests.processes import BenchError


def say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def exit_code_of(measure: Callable[[], None]) -> int:
    """0; 1 where the measurement is not possible, which is said; 130 after Ctrl-C."""
    # TERM must unwind the stack as Ctrl-C does, so that all processes are stopped.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        measure()
    except BenchError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0
