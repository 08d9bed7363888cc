"""An HTTP client for the admin API. It needs only the standard library, so that commands start fast.

Rule: every failure of a call becomes a CommandFailed with an exit code and a sentence that says what to
do next.
"""

from __future__ import annotations

import getpass
import json
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote, urlencode

from crossfade.cli.exits import INVALID, UNKNOWN_NAME, UNREACHABLE, CommandFailed
from crossfade.cli.reaching import Place, Trust, advice_for

TIMEOUT = 60.0  # seconds; the answer to a new split comes when all workers have it
Query = (
    Mapping[str, str | None] | Sequence[tuple[str, str]]
)  # the latter for a name that is given several times
_NO_QUERY: Query = {}
_JSON = "application/json"
_YAML = "application/yaml"
_BROKEN = (OSError, HTTPException, ValueError)  # what a call raises if no whole answer comes
_LAST_ENDPOINT_TYPE = "urn:crossfade:problem:last-endpoint"
_UNKNOWN_NAME_TYPE = "urn:crossfade:problem:unknown-name"


class AdminClient:
    """Opens one connection for each call. The only exception of a call is CommandFailed."""

    def __init__(self, url: str, token: str, trust: Trust = Trust()) -> None:  # noqa: B008 - it is immutable
        self.url, self.token, self.trust = url, token, trust
        self.place = Place.of(url)
        self.timeout = TIMEOUT

    @classmethod
    def of(cls, arguments: Namespace) -> AdminClient:
        return cls(arguments.admin, arguments.token, Trust.of(arguments))

    def get(self, *path: str, query: Query = _NO_QUERY) -> Any:
        return self.call("GET", path, query=query)

    def put(self, *path: str, body: object, query: Query = _NO_QUERY) -> Any:
        return self.call("PUT", path, body, query)

    def post(self, *path: str, body: object = None, query: Query = _NO_QUERY) -> Any:
        return self.call("POST", path, body, query)

    def send(self, *path: str, body: bytes, media: str) -> Any:
        """Post a body that is no JSON."""
        return self._answer("POST", path, body, {}, media)

    def call(
        self,
        method: str,
        path: tuple[str, ...],
        body: object = None,
        query: Query = _NO_QUERY,
    ) -> Any:
        if isinstance(body, str):  # a configuration file
            return self._answer(method, path, body.encode(), query, _YAML)
        content = None if body is None else json.dumps(body).encode()
        return self._answer(method, path, content, query, _JSON)

    def _answer(
        self,
        method: str,
        path: tuple[str, ...],
        content: bytes | None,
        query: Query,
        media: str,
    ) -> Any:
        target = self.target(path, query)
        try:
            status, headers, answer = self.exchange(method, target, content, media)
        except _BROKEN as error:
            raise self.unreachable(error) from None
        return self.decode(status, headers, answer, path)

    def target(self, path: tuple[str, ...], query: Query = _NO_QUERY) -> str:
        target = "/".join([self.place.prefix, "api", "v1", *(quote(part, safe="") for part in path)])
        named = query.items() if isinstance(query, Mapping) else query
        encoded = urlencode([(name, value) for name, value in named if value is not None])
        return f"{target}?{encoded}" if encoded else target

    def unreachable(self, error: Exception) -> CommandFailed:
        return CommandFailed(
            UNREACHABLE,
            f"cannot reach the admin API at {self.url}: {str(error) or type(error).__name__}",
            advice_for(error, self.place),
        )

    def connection(self) -> HTTPConnection:
        return self.place.connection(self.trust, self.timeout)

    def lines(self, *path: str, fields: Mapping[str, str]) -> Iterator[bytes]:
        """The lines of an answer that goes on, until the server ends it. `fields`: of the head, beside the usual ones."""
        connection = self.connection()
        try:
            connection.request("GET", self.target(path), headers={**self.headers(_JSON), **fields})
            response = connection.getresponse()
            if response.headers.get_content_type() != fields["Accept"]:
                self.decode(response.status, response.headers, response.read(), path)
                raise ValueError(f"it answered with {response.headers.get_content_type()}")
            while line := response.readline():
                yield line
        except _BROKEN as error:
            raise self.unreachable(error) from None
        finally:
            connection.close()

    def exchange(
        self, method: str, target: str, content: bytes | None, media: str
    ) -> tuple[int, Message, bytes]:
        connection = self.connection()
        try:
            connection.request(method, target, content, self.headers(media))
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def headers(self, media: str) -> dict[str, str]:
        headers = {"Accept": _JSON, "Content-Type": media}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if user := _user_name():
            headers["X-Crossfade-Actor"] = user
        return headers

    def decode(self, status: int, headers: Message, answer: bytes, path: tuple[str, ...]) -> Any:
        # The traffic port also answers with problem+json, but always with this header.
        from_admin = "x-crossfade-error" not in headers and headers.get_content_type().endswith("json")
        try:
            value = json.loads(answer) if from_admin else None
        except (ValueError, RecursionError):
            value = None
        if value is None:
            raise CommandFailed(
                UNREACHABLE,
                f"{self.url} answered with status {status}, but it is not Crossfade's admin API",
                "--admin must be the address of `admin.listen`, not of `listen`, with https:// if it has `admin.tls`.",
            )
        if status >= 400:
            raise refusal(status, value if isinstance(value, dict) else {}, path)
        return value


def refusal(status: int, problem: dict[str, Any], path: tuple[str, ...]) -> CommandFailed:
    """`path`: what was asked for, as `rollouts`, a route and a verb."""
    detail = str(problem.get("detail") or problem.get("title") or f"status {status}")
    if problems := problem.get("problems"):
        from crossfade.config.problem import Problem

        detail = "\n".join([detail, *(str(Problem(**fields)) for fields in problems)])
    if problem.get("type") == _UNKNOWN_NAME_TYPE:
        return CommandFailed(
            UNKNOWN_NAME, detail, "`crossfade status` lists the routes, backends and endpoints."
        )
    if problem.get("type") == _LAST_ENDPOINT_TYPE:
        return CommandFailed(INVALID, detail)
    code = UNREACHABLE if status in _LATER else INVALID
    route = path[1] if path[0] in _OF_ROUTES and len(path) > 1 else "ROUTE"
    return CommandFailed(code, detail, _ADVICE.get(status, "").replace("ROUTE", route), problem)


_OF_ROUTES = ("rollouts", "routes", "retrain")  # what comes before the name of a route in a path
_LATER = (408, 429, 503)  # the same call may be answered later
_ADVICE = {
    401: "Give the token with --token or CROSSFADE_ADMIN_TOKEN.",
    403: "An operator's token may do all; `admin.tokens` in the file says who has which role.",
    409: "`crossfade why ROUTE` shows the state of the rollout.",
    500: "The log of `crossfade run` has the details.",
}


def _user_name() -> str:
    """Who runs the command, for the journal; empty in a container without a user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
