"""Child processes that are pinned to cores and never outlive the block that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

STARTS_WITHIN = 20.0
STOPS_WITHIN = 10.0
SHOWN = 2000  # characters of what a process printed last


class BenchError(Exception):
    """The measurement cannot be made; the text says why."""


@contextmanager
def child(argv: Sequence[str], cores: frozenset[int], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """In a session of its own: Ctrl-C reaches only this process, which then ends the children in order.

    A signal in the midst of the start would leave a child that nobody knows; it is held back until
    the child is known.
    """
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})

    def before_it_runs() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
        if cores:
            os.sched_setaffinity(0, cores)

    try:
        with log.open("wb") as printed:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before_it_runs,
            )
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
            yield process
        finally:
            stop(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks the leader to end, ends what is left of its group, and returns when nothing is."""
    process.terminate()
    try:
        process.wait(STOPS_WITHIN)
    except subprocess.TimeoutExpired:
        pass
    finally:
        while signal_group(process.pid, signal.SIGKILL):
            process.poll()
            time.sleep(0.005)


def signal_group(group: int, number: signal.Signals) -> bool:
    """False if nobody is left in it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def wait_until_answering(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until a GET is answered with 200; raises BenchError with what the process printed."""
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        with suppress(OSError, HTTPException):
            if status_of(port) == 200:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{process.args!r} does not answer on port {port}:\n{log.read_text()[-SHOWN:]}")
        time.sleep(0.05)


def status_of(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()
