"""Who may call the admin API, and the actor's name.

Rule: probes, the static files of the dashboard and the login are open; everything else needs a token, if any is set, as a Bearer token
or as the session of a browser that has logged in with one, and the token's role must allow it. Without a token (loopback only)
a web page must not reach the API through the operator's browser: a foreign Origin is refused, and so is a Host that is a DNS
name, which a rebinding attack needs. With a token any Host is allowed, as a foreign page does not have the token. A request
that changes something is refused too where the browser says that it comes from another site (`Sec-Fetch-Site`): some of these
have no Origin. A browser adds the cookie of a session to whatever page asks, so what comes with a cookie must show that it comes
from a page of this very origin if it changes something.
"""

from __future__ import annotations

import ipaddress
import math
import re
import secrets
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from crossfade.admin.callers import LOCAL, Caller, Callers, hashed
from crossfade.admin.failures import Failure, Failures, source_of
from crossfade.admin.operation import operation_of
from crossfade.admin.roles import Role
from crossfade.admin.sessions import Sessions
from crossfade.config.admin import AdminConfig

PROBES = frozenset({"/healthz", "/readyz"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIE = "crossfade_session"

ACTOR_HEADER = "X-Crossfade-Actor"
NOT_IN_ACTOR = re.compile(r"[^A-Za-z0-9_.@+-]+")
CALLER = web.RequestKey("caller", Caller)


class Access:
    """`config`: the one in force. `is_local`: nobody but users of this machine reaches the listener."""

    def __init__(
        self,
        config: Callable[[], AdminConfig],
        is_local: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.is_local = is_local
        self.sessions = Sessions(now)
        self.failures = Failures(now)
        self.own_token = secrets.token_urlsafe(32)  # of commands that this process starts; it is in no file
        self.own = Caller("crossfade", Role.VIEWER, hashed(self.own_token))
        self.used = config()
        self.callers = Callers(self.used)

    @classmethod
    def of_token(cls, token: str) -> Access:
        """One token, or none if it is ""."""
        config = AdminConfig(token=token)
        return cls(lambda: config)

    def known(self) -> Callers:
        """Of the configuration in force. One without tokens does not open a listener that others reach."""
        config = self.config()
        if config is not self.used and (config.has_tokens or self.is_local):
            self.used, self.callers = config, Callers(config)
            self.sessions.keep_only(frozenset(caller.token for caller in self.callers.known))
        return self.callers

    @property
    def needs_token(self) -> bool:
        return bool(self.known().known)

    def log_in(self, request: web.Request, token: str) -> tuple[Caller, str]:
        """The caller, and the value of the cookie; "" where no token is needed. Raises HTTPException."""
        if not self.needs_token:
            return LOCAL, ""
        caller = self._with_token(request, token)
        return caller, self.sessions.begin(caller.token)

    def caller_of(self, request: web.Request) -> Caller:
        """Raises HTTPException."""
        if not self.needs_token:
            return LOCAL
        given = request.headers.get("Authorization")
        if given is not None:
            scheme, _, token = given.partition(" ")
            return self._with_token(request, token.strip() if scheme.lower() == "bearer" else "")
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            self.failures.count(Failure.MISSING)
            raise _unauthorized("A token is required: Authorization: Bearer TOKEN, or a login.")
        return self._with_session(request, cookie)

    def admit(self, request: web.Request) -> None:
        """Raises HTTPException where the caller may not do what the request asks for."""
        needed = role_of(request)
        if needed is Role.OPEN:
            return
        caller = self.caller_of(request)
        if not caller.role.allows(needed):
            self.failures.count(Failure.ROLE)
            raise web.HTTPForbidden(
                text=f"{caller.shown} has the role {caller.role}; this needs the role {needed}."
            )
        request[CALLER] = caller

    def still_admits(self, request: web.Request) -> bool:
        """Of an answer that goes on for long: tokens leave the file meanwhile, and sessions end."""
        try:
            self.admit(request)
        except web.HTTPException:
            return False
        return True

    def _with_token(self, request: web.Request, token: str) -> Caller:
        source = source_of(request.transport and request.transport.get_extra_info("peername"))
        wait = self.failures.wait(source)
        caller = self.known().with_token(token, only_strong=wait > 0, also=self.own)
        if caller is not None:
            return caller
        if wait > 0:
            self.failures.count(Failure.THROTTLED)
            raise web.HTTPTooManyRequests(
                text="Too many wrong tokens came from this address.",
                headers={"Retry-After": str(math.ceil(wait))},
            )
        self.failures.fail(source)
        self.failures.count(Failure.TOKEN)
        raise _unauthorized("The token is wrong.")

    def _with_session(self, request: web.Request, cookie: str) -> Caller:
        token = self.sessions.token_of(cookie)
        caller = None if token is None else self.known().with_hash(token)
        if caller is None:
            self.failures.count(Failure.SESSION)
            raise _unauthorized("The session has ended; log in again.")
        if not _is_of_own_page(request):
            self.failures.count(Failure.ORIGIN)
            raise web.HTTPForbidden(text="With a session only the dashboard's own pages may do this.")
        return caller


def access_guard(access: Access) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in PROBES:
            _refuse_foreign_origin(request, access.failures)
            if not access.needs_token:
                _refuse_named_host(request, access.failures)
        access.admit(request)
        return await handler(request)

    return guard


def role_of(request: web.Request) -> Role:
    operation = operation_of(request)
    if operation is None:  # a viewer may learn that there is nothing to read
        return Role.VIEWER if request.method in READING else Role.OPERATOR
    return operation.role_of(request)


def _unauthorized(text: str) -> web.HTTPUnauthorized:
    return web.HTTPUnauthorized(text=text, headers={"WWW-Authenticate": 'Bearer realm="crossfade admin"'})


def _refuse_foreign_origin(request: web.Request, failures: Failures) -> None:
    host = request.headers.get("Host", "")
    for origin in request.headers.getall("Origin", ()):
        if not is_own(origin, request):
            failures.count(Failure.ORIGIN)
            raise web.HTTPForbidden(text=f"A page of {origin} may not use the admin API of {host}.")
    if request.method not in READING:
        for site in request.headers.getall("Sec-Fetch-Site", ()):
            if site not in ("same-origin", "none"):
                failures.count(Failure.ORIGIN)
                raise web.HTTPForbidden(text="A page of another site may not change anything here.")


def is_own(origin: str, request: web.Request) -> bool:
    """Whether it is this listener's, by the name that the client uses. A proxy in front may have ended TLS, so an https origin
    is ours on a plain listener too; an http origin is not on one with TLS."""
    scheme, _, place = origin.lower().partition("://")
    host = request.headers.get("Host", "").lower()
    return bool(host) and place == host and (scheme == "https" or not request.secure)


def _is_of_own_page(request: web.Request) -> bool:
    """Browsers send Sec-Fetch-Site over TLS and to loopback, and Origin with each request that changes something."""
    sites = request.headers.getall("Sec-Fetch-Site", ())
    if any(site not in ("same-origin", "none") for site in sites):
        return False
    return request.method in READING or "same-origin" in sites or "Origin" in request.headers


def _refuse_named_host(request: web.Request, failures: Failures) -> None:
    host = request.headers.get("Host", "")
    if host and not is_unspoofable(host):
        failures.count(Failure.HOST)
        raise web.HTTPForbidden(
            text=f"Without a token the admin API answers only to an IP address or localhost, not to {host}; "
            "set admin.token or admin.tokens to use a name."
        )


def is_unspoofable(host: str) -> bool:
    """An IP address or localhost: no DNS answer can change what it points to."""
    try:
        name = "" if "@" in host else urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def actor_of(request: web.Request) -> str:
    """`alice`, the name of the token, or `alice (NAME)` with a name from the caller's header, in characters that are safe to
    show. Of a caller without a name `api` and `api:NAME`."""
    given = NOT_IN_ACTOR.sub("_", request.headers.get(ACTOR_HEADER, "")[:64]).strip("_")
    caller = request.get(CALLER, LOCAL)
    if not caller.name:
        return f"api:{given}" if given else "api"
    return f"{caller.name} ({given})" if given else caller.name
