"""Server-sent events: what happens, as it happens, without holes.

Rule: a reader that comes back with Last-Event-ID gets every decision after it, once and in order.
The subscription is bounded and may drop what a slow reader does not take, so a decision that
arrives is only the sign to read on in the journal from where this reader stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import msgspec
from aiohttp import web

from proxy.control.controller import Controller
from proxy.control.views import Decision, StatusChange

log = logging.getLogger(__name__)

HEARTBEAT = 15.0  # seconds; below the idle timeout of the usual proxies
PAGE = 100
STREAMS = 64
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
