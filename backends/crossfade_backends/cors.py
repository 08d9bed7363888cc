"""Lets pages of other origins ask the model server (CORS, as the Fetch standard has it).

Rule: other origins may predict and read, with GET and POST; they may not switch faults on. No cookies are allowed, as there are none.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

ANY = "*"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Content-Type, X-Request-Id",
    "Access-Control-Max-Age": "600",
}
_EXPOSED = "Retry-After, X-Request-Id"


def parse_origin(text: str) -> str:
    """`*`, or an origin as browsers send it. Raises ValueError."""
    if text == ANY:
        return text
    parts = urlsplit(text)
    if (
        parts.scheme not in ("http", "https")
        or text != f"{parts.scheme}://{parts.netloc}"
        or not parts.hostname
    ):
        raise ValueError(f"{text!r} is not an origin such as https://app.example.com, and not *")
    if text != text.lower() or "@" in parts.netloc:
        raise ValueError(f"{text!r} is not as browsers send it: lower case, without a user")
    default = {"http": 80, "https": 443}[parts.scheme]
    if parts.port == default:
        raise ValueError(f"{text!r}: browsers leave out :{default}")
    return text


class Cors:
    def __init__(self, origins: Collection[str]) -> None:
        self.origins = frozenset(origins)

    def of(self, request: web.Request) -> dict[str, str]:
        """The header fields for the origin that asks, also if it may not: caches keep answers apart by them."""
        if ANY in self.origins:
            return {"Access-Control-Allow-Origin": ANY}
        origin = request.headers.get("Origin")
        allowed = {"Access-Control-Allow-Origin": origin} if origin in self.origins and origin else {}
        return {"Vary": "Origin", **allowed}

    @web.middleware
    async def answer_preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not is_preflight or "Access-Control-Allow-Origin" not in self.of(request):
            return await handler(request)
        return web.Response(status=204, headers=_PREFLIGHT)

    async def allow(self, request: web.Request, response: web.StreamResponse) -> None:
        """Called for each answer before its head is sent, errors and streams included."""
        fields = self.of(request)
        response.headers.update(fields)
        if "Access-Control-Allow-Origin" in fields:
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
