"""The commands' side of the admin API, on the standard library alone so that commands start at once.

Rule: every way in which a call can fail becomes a CommandFailed with an exit code and a sentence
that says what to do next.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from crossfade.cli.exits import INVALID, UNKNOWN_NAME, UNREACHABLE, USAGE, CommandFailed

TIMEOUT = 60.0  # seconds; a split answers only when all workers serve from it
NO_QUERY: Mapping[str, str | None] = {}
UNKNOWN = "urn:crossfade:problem:unknown-name"


class AdminClient:
    """One connection for each call; every call raises CommandFailed and nothing else."""

    def __init__(self, url: str, token: str) -> None:
        try:
            parts = urlsplit(url)
            self.host, self.port = parts.hostname or "", parts.port
        except ValueError as error:
            raise CommandFailed(USAGE, f"--admin {url}: {error}") from None
        if parts.scheme not in ("http", "https") or not self.host:
            raise CommandFailed(USAGE, f"--admin {url}: this must look like http://127.0.0.1:9901")
        self.url, self.token = url, token
        self.secure = parts.scheme == "https"
        self.prefix = parts.path.rstrip("/")

    def get(self, *path: str, query: Mapping[str, str | None] = NO_QUERY) -> Any:
        return self.call("GET", path, query=query)

    def put(self, *path: str, body: object) -> Any:
        return self.call("PUT", path, body)

    def post(self, *path: str, body: object = None, query: Mapping[str, str | None] = NO_QUERY) -> Any:
        return self.call("POST", path, body, query)

    def call(
        self,
        method: str,
        path: tuple[str, ...],
        body: object = None,
        query: Mapping[str, str | None] = NO_QUERY,
    ) -> Any:
        target = "/".join([self.prefix, "api", "v1", *(quote(part, safe="") for part in path)])
        if given := urlencode({name: value for name, value in query.items() if value is not None}):
            target += f"?{given}"
        content = None if body is None else json.dumps(body).encode()
        try:
            status, headers, answer = self.exchange(method, target, content)
        except (OSError, HTTPException, ValueError) as error:
            raise CommandFailed(
                UNREACHABLE,
                f"cannot reach the admin API at {self.url}: {str(error) or type(error).__name__}",
                "Is `crossfade run` up, and is this its `admin.listen`? (--admin, CROSSFADE_ADMIN_URL)",
            ) from None
        return self.understood(status, headers, answer)

    def exchange(self, method: str, target: str, content: bytes | None) -> tuple[int, Message, bytes]:
        make = HTTPSConnection if self.secure else HTTPConnection
        connection = make(self.host, self.port, timeout=TIMEOUT)
        try:
            connection.request(method, target, content, self.headers())
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if user := user_name():
            headers["X-Crossfade-Actor"] = user
        return headers

    def understood(self, status: int, headers: Message, answer: bytes) -> Any:
        # The traffic port answers with problems too; only there do they carry this header.
        ours = "x-crossfade-error" not in headers and headers.get_content_type().endswith("json")
        try:
            value = json.loads(answer) if ours else None
        except (ValueError, RecursionError):
            value = None
        if value is None:
            raise CommandFailed(
                UNREACHABLE,
                f"{self.url} answers (status {status}), but not as Crossfade's admin API",
                "--admin wants the address of `admin.listen`, not the one that takes traffic.",
            )
        if status >= 400:
            raise refusal(status, value if isinstance(value, dict) else {})
        return value


def refusal(status: int, problem: dict[str, Any]) -> CommandFailed:
    detail = str(problem.get("detail") or problem.get("title") or f"status {status}")
    if found := problem.get("problems"):
        from crossfade.config.problem import Problem

        detail = "\n".join([detail, *(str(Problem(**one)) for one in found)])
    if problem.get("type") == UNKNOWN:
        return CommandFailed(UNKNOWN_NAME, detail, "`crossfade status` lists the routes and backends.")
    return CommandFailed(INVALID, detail, ADVICE.get(status, ""))


ADVICE = {
    401: "Give the token with --token or CROSSFADE_ADMIN_TOKEN.",
    409: "`crossfade why ROUTE` says where the rollout stands.",
    500: "The log of `crossfade run` has the details.",
}


def user_name() -> str:
    """Who runs the command, for the journal; nobody in a container without a user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
