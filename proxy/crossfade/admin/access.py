"""Access control of the admin API, and the actor's name.

Rule: probes and the static files of the dashboard are open; every other path needs the token, if one is set. Without
a token (loopback only) a web page must not reach the API through the operator's browser: a foreign Origin is
refused, and so is a Host that is a DNS name, which a rebinding attack needs. With a token any Host is allowed,
as a foreign page does not have the token. A request that changes something is refused too where the browser says
that it comes from another site (`Sec-Fetch-Site`): some of these have no Origin.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

PROBES = frozenset({"/healthz", "/readyz"})
OPEN = PROBES | {"/"}
OPEN_FILES = "/static/"  # of the dashboard
READING = frozenset({"GET", "HEAD", "OPTIONS"})

ACTOR_HEADER = "X-Crossfade-Actor"
NOT_IN_ACTOR = re.compile(r"[^A-Za-z0-9_.@+-]+")


def access_guard(token: str) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in PROBES:
            _refuse_foreign_origin(request)
            if not token:
                _refuse_named_host(request)
        if token and not _is_open(request.path):
            _require_token(request, token)
        return await handler(request)

    return guard


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FILES)


def _refuse_foreign_origin(request: web.Request) -> None:
    host = request.headers.get("Host", "")
    for origin in request.headers.getall("Origin", ()):
        if not host or origin.lower().partition("://")[2] != host.lower():
            raise web.HTTPForbidden(text=f"A page of {origin} may not use the admin API of {host}.")
    if request.method not in READING:
        for site in request.headers.getall("Sec-Fetch-Site", ()):
            if site not in ("same-origin", "none"):
                raise web.HTTPForbidden(text="A page of another site may not change anything here.")


def _refuse_named_host(request: web.Request) -> None:
    host = request.headers.get("Host", "")
    if host and not is_unspoofable(host):
        raise web.HTTPForbidden(
            text=f"Without a token the admin API answers only to an IP address or localhost, not to {host}; "
            "set admin.token to use a name."
        )


def is_unspoofable(host: str) -> bool:
    """An IP address or localhost: no DNS answer can change what it points to."""
    try:
        name = "" if "@" in host else urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _require_token(request: web.Request, token: str) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), token.encode())
    if scheme.lower() != "bearer" or not right:
        raise web.HTTPUnauthorized(
            text="The admin token is required: Authorization: Bearer TOKEN.",
            headers={"WWW-Authenticate": 'Bearer realm="crossfade admin"'},
        )


def actor_of(request: web.Request) -> str:
    """`api:NAME` from the caller's header, in characters that are safe to show; `api` without one."""
    name = NOT_IN_ACTOR.sub("_", request.headers.get(ACTOR_HEADER, "")[:64]).strip("_")
    return f"api:{name}" if name else "api"
