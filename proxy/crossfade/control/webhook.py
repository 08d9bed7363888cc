"""One call of a webhook: JSON is posted, signed where there is a secret, and the answer is read.

Rule: a call ends in its time, follows no redirect, and reads a bounded part of the answer. Nothing said of it holds the URL,
whose path may be a password. Orders to train, messages and gates all go this way.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp

from crossfade.control.prometheus_poller import cause_of
from crossfade.log_lines import printable

MAX_ANSWER = 16_384  # bytes that are read of an answer
SHOWN = 500  # characters of what it says
LONGEST_WISH = 3600.0  # seconds that a Retry-After may ask for


class Answer(NamedTuple):
    """`status`: None if there was none. `detail`: in words. `retry_after`: seconds, as the answer asks for; 0 if it does not."""

    status: int | None
    detail: str
    body: bytes = b""
    retry_after: float = 0.0

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def new_session() -> aiohttp.ClientSession:
    """No cookies: one receiver's are not another's."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())


def signature(secret: str, body: bytes, at: int) -> str:
    """`t=UNIX TIME,v1=HEX`: HMAC-SHA-256 over the time, a dot and the body, as Stripe and others sign webhooks."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Call(NamedTuple):
    """What is posted. `id`: the same at each attempt. `at`: wall time in seconds, which is signed too, so that a copy does not stay valid."""

    url: str
    body: bytes
    id: str
    at: int
    secret: str | None = None
    headers: Mapping[str, str] = {}


async def call(session: aiohttp.ClientSession, what: Call, timeout: float) -> Answer:
    """`timeout`: seconds. It raises nothing but a cancellation."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": what.id, **what.headers}
    if what.secret is not None:
        headers["X-Crossfade-Signature"] = signature(what.secret, what.body, what.at)
    try:
        return await _answer_to(session, what, headers, timeout)
    except TimeoutError:
        return Answer(None, f"no answer within {timeout:g}s")
    except (OSError, aiohttp.ClientError, ValueError) as error:
        return Answer(None, f"the webhook cannot be reached ({cause_of(error)})")


async def _answer_to(
    session: aiohttp.ClientSession, what: Call, headers: Mapping[str, str], timeout: float
) -> Answer:
    async with (
        asyncio.timeout(timeout),
        session.post(what.url, data=what.body, headers=headers, allow_redirects=False) as answer,
    ):
        body = await _start_of(answer)
        said = "" if 200 <= answer.status < 300 else text_of(body)
        detail = f"the webhook answered {answer.status}{': ' if said else ''}{said}"
        return Answer(answer.status, detail, body, _wish(answer.headers.get("Retry-After", "")))


async def _start_of(answer: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for piece in answer.content.iter_any():
        found += piece
        if len(found) >= MAX_ANSWER:
            break
    return bytes(found[:MAX_ANSWER])


def _wish(retry_after: str) -> float:
    """Of a number of seconds; a date is not heard."""
    return min(float(retry_after), LONGEST_WISH) if retry_after.isascii() and retry_after.isdigit() else 0.0


def text_of(body: bytes) -> str:
    """Its end, on one line."""
    return printable(" ".join(body.decode(errors="replace").split()))[-SHOWN:]
