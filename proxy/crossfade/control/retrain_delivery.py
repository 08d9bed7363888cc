"""One attempt to have a model trained again: the order is posted to a webhook, or given to a command.

Rule: an attempt ends in its time, and what it read is bounded; `webhook` says how one is called. A command has a process group of its own, which ends with the attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any, NamedTuple

import aiohttp
import msgspec

from crossfade.config.retrain import RetrainConfig
from crossfade.control.webhook import MAX_ANSWER, Call, call, text_of

END_WAIT = 5.0  # seconds in which a command may end after a TERM
TRANSIENT = (408, 425, 429)  # of the 4xx, those that another attempt may not get


class Result(NamedTuple):
    """`succeeded`, or why not; `final`: another attempt would end as this one did."""

    succeeded: bool
    detail: str
    answer: Any = None
    final: bool = False


async def post(
    session: aiohttp.ClientSession, config: RetrainConfig, order: str, body: bytes, at: int
) -> Result:
    """2xx is success. `at`: wall time in seconds."""
    what = Call(config.webhook or "", body, order, at, config.secret)
    answer = await call(session, what, config.attempt_timeout)
    if answer.is_success:
        return Result(True, answer.detail, _value_of(answer.body))
    status = answer.status or 0
    return Result(False, answer.detail, final=300 <= status < 500 and status not in TRANSIENT)


def _value_of(body: bytes) -> Any:
    """JSON values, else text, else nothing."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return text_of(body) or None


def _said(body: bytes) -> str:
    text = text_of(body)
    return f": {text}" if text else ""


async def run(config: RetrainConfig, body: bytes, variables: dict[str, str]) -> Result:
    """Exit code 0 is success; the last line of the output is the answer. The order is on standard input."""
    try:
        child = await asyncio.create_subprocess_exec(
            *(config.command or ()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | variables,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Result(False, f"the command cannot be run: {getattr(error, 'strerror', None) or error}")
    try:
        async with asyncio.timeout(config.attempt_timeout):
            output, said = await _conversation(child, body)
    except TimeoutError:
        return Result(False, f"the command took more than {config.attempt_timeout:g}s")
    finally:
        await asyncio.shield(_ended(child))
    if child.returncode:
        return Result(False, f"the command ended with {child.returncode}{_said(said or output)}")
    lines = output.strip().splitlines()
    return Result(True, "the command ended with 0", _value_of(lines[-1]) if lines else None)


async def _conversation(child: asyncio.subprocess.Process, body: bytes) -> tuple[bytes, bytes]:
    """The ends of output and error output, once the command has ended."""
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    async with asyncio.TaskGroup() as tasks:
        output = tasks.create_task(_end_of(child.stdout))
        said = tasks.create_task(_end_of(child.stderr))
        with contextlib.suppress(OSError):  # it reads no order
            child.stdin.write(body)
            await child.stdin.drain()
        child.stdin.close()
        await child.wait()
    return output.result(), said.result()


async def _end_of(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while piece := await stream.read(65_536):
        kept = (kept + piece)[-MAX_ANSWER:]
    return kept


async def _ended(child: asyncio.subprocess.Process) -> None:
    """The whole group: what the command has started ends too."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, how)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_WAIT):
                await child.wait()
                return
