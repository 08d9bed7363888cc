"""The observer process: it reads sampled answers beside the workers, and ends when the control process closes its socket.

Rule: whatever an answer holds, the next one is read. A sample that cannot be read is dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from typing import BinaryIO

import msgspec

from crossfade.frames import framed
from crossfade.log_lines import log_to_stderr, use
from crossfade.observer.messages import TO_OBSERVER, Use, Watch, read_frame
from crossfade.observer.observing import Observer

log = logging.getLogger("crossfade.observer")

NICE = 5  # serving goes before reading


def observe(fd: str) -> int:
    """`fd`: of a socket whose other end the control process has."""
    log_to_stderr("observer")
    for sign in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # they are sent to all; the control process decides
        signal.signal(sign, signal.SIG_IGN)
    os.nice(NICE)
    with (
        socket.socket(fileno=int(fd)) as sock,
        sock.makefile("rb") as requests,
        sock.makefile("wb") as answers,
        contextlib.suppress(BrokenPipeError, ConnectionResetError),
    ):  # the control process has ended
        serve(requests, answers)
    return 0


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    observer = Observer()
    try:
        while (data := read_frame(requests)) is not None:
            take(observer, data, answers)
    finally:
        observer.close()


def take(observer: Observer, data: bytes, answers: BinaryIO) -> None:
    """One message."""
    try:
        message = TO_OBSERVER.decode(data)
    except msgspec.MsgspecError as error:
        log.error("a message of the control process cannot be read: %s", error)
        return
    if isinstance(message, Use):
        use(*message.log)
        observer.use(message.routes, message.kept, message.logged)
        observer.spans.use(message.tracing)
    elif isinstance(message, Watch):
        observer.answers.drift.use(message.routes)
    else:
        answers.write(framed(observer.observe(message.samples, message.n)))
        answers.flush()
