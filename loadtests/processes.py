"""Child processes that are pinned to cores and end with the block that started them."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

START_TIMEOUT = 20.0
_STOP_TIMEOUT = 10.0
_SHOWN = 2000  # characters at the end of the output that an error shows


class BenchError(Exception):
    """The measurement is not possible; the message says why."""


@contextmanager
def child(argv: Sequence[str], cores: frozenset[int], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The child has its own session, so that Ctrl-C reaches only this process, which then stops the children.

    Signals are blocked during the start: a signal between fork and the assignment of `process` would leave
    a child that is never stopped.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})

    def prepare_child() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        if cores:
            os.sched_setaffinity(0, cores)

    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=prepare_child,
            )
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
            yield process
        finally:
            stop(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminates the process, kills the rest of its group, and returns when the group is empty."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        pass
    finally:
        while _signal_group(process.pid, signal.SIGKILL):
            process.poll()
            time.sleep(0.005)


def _signal_group(group: int, number: signal.Signals) -> bool:
    """False if the group has no process."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def wait_until_answering(
    process: subprocess.Popen[bytes], port: int, log: Path, secure: bool = False
) -> None:
    """Waits until a GET is answered with 200. Raises BenchError with the output of the process."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with suppress(OSError, HTTPException):
            if _status_of(port, secure) == 200:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{process.args!r} does not answer on port {port}:\n{log.read_text()[-_SHOWN:]}")
        time.sleep(0.05)


def _status_of(port: int, secure: bool) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    if secure:
        unverified = ssl._create_unverified_context()  # the certificate is of this run
        connection = HTTPSConnection("127.0.0.1", port, timeout=2, context=unverified)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()
