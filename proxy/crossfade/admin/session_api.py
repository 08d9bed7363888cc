"""`/api/v1/session`: a browser logs in with a token, asks who it is, and logs out.

Rule: the token comes in a body, never in a URL, and goes nowhere. The browser gets a cookie that no script can read and that it
sends with requests of the dashboard's own pages alone.
"""

from __future__ import annotations

import logging

import msgspec
from aiohttp import web

from crossfade.admin.access import COOKIE, Access
from crossfade.admin.asked import json_of, json_response
from crossfade.admin.callers import Caller
from crossfade.admin.failures import source_of
from crossfade.admin.operation import Body, Operation
from crossfade.admin.roles import Role
from crossfade.admin.sessions import LASTS

log = logging.getLogger("crossfade.admin")


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """`token`: one of `admin.token` and `admin.tokens`."""

    token: str


class SessionView(msgspec.Struct):
    """`role`: viewer, feedback or operator. `login`: whether a token is needed here."""

    name: str
    role: str
    login: bool


class SessionApi:
    def __init__(self, access: Access) -> None:
        self.access = access

    async def begin(self, request: web.Request) -> web.Response:
        login: Login = await json_of(request, Login)
        caller, cookie = self.access.log_in(request, login.token)
        answer = self._view(caller)
        if cookie:
            log.info("admin: %s has logged in from %s", caller.shown, source_of(_peer_of(request)))
            answer.set_cookie(
                COOKIE, cookie, max_age=int(LASTS), path="/", httponly=True, samesite="Strict",
                secure=_is_secure(request),
            )  # fmt: skip
        return answer

    async def show(self, request: web.Request) -> web.Response:
        return self._view(self.access.caller_of(request))

    async def end(self, request: web.Request) -> web.Response:
        """Also where there is none: who logs out twice is logged out."""
        cookie = request.cookies.get(COOKIE)
        if cookie is not None:
            self.access.sessions.end(cookie)
        answer = web.Response(status=204)
        answer.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=_is_secure(request))
        return answer

    def _view(self, caller: Caller) -> web.Response:
        view = SessionView(caller.shown, caller.role, self.access.needs_token)
        return json_response(view)


def _is_secure(request: web.Request) -> bool:
    """Whether the page is https: a proxy in front may have ended TLS, and browsers send the origin with a login."""
    return request.secure or request.headers.get("Origin", "").lower().startswith("https://")


def _peer_of(request: web.Request) -> object:
    return request.transport and request.transport.get_extra_info("peername")


PATH = "/api/v1/session"
NOBODY = {
    401: "No token, a wrong one, or a session that has ended",
    429: "Too many wrong tokens came from this address",
}
OPERATIONS = (
    Operation(
        method="GET",
        path=PATH,
        handler=SessionApi.show,
        role=Role.OPEN,
        summary="Who the caller is",
        answer=SessionView,
        errors=NOBODY,
    ),
    Operation(
        method="POST",
        path=PATH,
        handler=SessionApi.begin,
        role=Role.OPEN,
        summary="Log in: a cookie that stands for the token",
        answer=SessionView,
        body=Body(Login, example={"token": "the token of alice"}),
        errors=NOBODY,
    ),
    Operation(
        method="DELETE",
        path=PATH,
        handler=SessionApi.end,
        role=Role.OPEN,
        summary="Log out",
        answer=None,
        status=204,
    ),
)
