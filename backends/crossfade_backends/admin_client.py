"""The admin API of a running proxy, for commands and the supervisor of replicas. It blocks."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT = 30.0  # seconds; the answer to a drain comes when all workers know it


# Not by way of the HTTP proxy that the environment may name: models and the admin API are asked directly.
DIRECT = build_opener(ProxyHandler({}))


class ProxyError(Exception):
    """`status`: of the answer; 0 without one."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class AdminClient:
    def __init__(self, url: str, token: str = "") -> None:
        self.url, self.token = url.rstrip("/"), token

    def get(self, *path: str) -> Any:
        return self._read(self._ask("GET", path))

    def post(self, *path: str, body: str = "{}", media: str = "application/json") -> Any:
        return self._read(self._ask("POST", path, body.encode(), media))

    def metrics(self) -> str:
        return self._ask("GET", ("metrics",))

    def _read(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise ProxyError(f"{self.url} is no admin API of Crossfade: its answer is no JSON") from None

    def _ask(self, method: str, path: tuple[str, ...], body: bytes | None = None, media: str = "") -> str:
        """Raises ProxyError."""
        url = f"{self.url}/{'/'.join(quote(part, safe='') for part in path)}"
        fields = {"X-Crossfade-Actor": "models"}
        fields |= {"Content-Type": media} if media else {}
        fields |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with DIRECT.open(Request(url, body, fields, method=method), timeout=TIMEOUT) as answer:
                found: bytes = answer.read()
                return found.decode()
        except HTTPError as refused:
            with refused:
                detail = _detail(refused.read().decode(errors="replace"))
            raise ProxyError(f"the proxy refuses: {detail or refused.reason}", refused.code) from None
        except (URLError, HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ProxyError(f"the proxy at {self.url} does not answer: {reason}") from None


def _detail(body: str) -> str:
    """Of a problem+json: what it says, and each problem of a configuration with its place."""
    try:
        answer = json.loads(body)
        lines = [
            f"{each['source']}:{each['line']}:{each['column']}: {each['path']}: {each['message']}"
            for each in answer.get("problems", [])
            if each["severity"] == "error"
        ]
        return "\n  ".join([str(answer.get("detail", "")), *lines])
    except (ValueError, AttributeError, KeyError, TypeError):
        return body[:500]
