"""One attempt to have a model trained again: the order is posted to a webhook, or given to a command.

Rule: an attempt ends in its time, and what it read is bounded. Nothing said of it holds the URL, whose path may be a password.
A command has a process group of its own, which ends with the attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import signal
from typing import Any, NamedTuple

import aiohttp
import msgspec

from crossfade.config.retrain import RetrainConfig
from crossfade.control.prometheus_poller import cause_of
from crossfade.log_lines import printable

MAX_ANSWER = 16_384  # bytes that are read of an answer, and kept of an output
SHOWN = 500  # characters of what went wrong
END_WAIT = 5.0  # seconds in which a command may end after a TERM
TRANSIENT = (408, 425, 429)  # of the 4xx, those that another attempt may not get


class Result(NamedTuple):
    """`succeeded`, or why not; `final`: another attempt would end as this one did."""

    succeeded: bool
    detail: str
    answer: Any = None
    final: bool = False


def signature(secret: str, body: bytes, at: int) -> str:
    """`t=UNIX TIME,v1=HEX`: HMAC-SHA-256 over the time, a dot and the body, as Stripe and others sign webhooks."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


async def post(
    session: aiohttp.ClientSession, config: RetrainConfig, order: str, body: bytes, at: int
) -> Result:
    """2xx is success. `at`: wall time in seconds, which is signed too, so that a copy does not stay valid."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": order}
    if config.secret is not None:
        headers["X-Crossfade-Signature"] = signature(config.secret, body, at)
    try:
        async with (
            asyncio.timeout(config.attempt_timeout),
            session.post(config.webhook or "", data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return _read(answer.status, await _start_of(answer))
    except TimeoutError:
        return Result(False, f"no answer within {config.attempt_timeout:g}s")
    except (OSError, aiohttp.ClientError, ValueError) as error:
        return Result(False, f"the webhook cannot be reached ({cause_of(error)})")


async def _start_of(answer: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for piece in answer.content.iter_any():
        found += piece
        if len(found) >= MAX_ANSWER:
            break
    return bytes(found[:MAX_ANSWER])


def _read(status: int, body: bytes) -> Result:
    if 200 <= status < 300:
        return Result(True, f"the webhook answered {status}", _value_of(body))
    final = 300 <= status < 500 and status not in TRANSIENT
    return Result(False, f"the webhook answered {status}{_said(body)}", final=final)


def _value_of(body: bytes) -> Any:
    """JSON values, else text, else nothing."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return _text_of(body) or None


def _text_of(body: bytes) -> str:
    return printable(" ".join(body.decode(errors="replace").split()))[-SHOWN:]


def _said(body: bytes) -> str:
    text = _text_of(body)
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
