"""Asks a model server what it is: where its health is, which protocol it speaks, and which path predicts.

Rule: only GET requests, each with a short timeout; nothing that a model would count as a prediction. What nobody answers stays unknown.
"""

from __future__ import annotations

import json
import re
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from crossfade.cli.exits import UNREACHABLE, USAGE, CommandFailed

PATIENCE = 3.0  # seconds for each request
_LARGEST = 4 << 20  # bytes of an answer that are read
_HEALTH = ("/v2/health/ready", "/health", "/healthz", "/ready", "/readyz", "/ping")
_NOWHERE = "/crossfade-asks-for-nothing"  # no model server has it
_VERSION = re.compile(r'"?\d+\.\d+[\w.+-]*"?')
_PREDICTS = ("predict", "infer", "invocations", "score", "classify")


class Found(NamedTuple):
    """`protocol`: as in `prediction` of a route, "" if it is not known. `path`: where predictions are asked for; `health`: of probes."""

    protocol: str
    path: str
    health: str
    said: str


class Answer(NamedTuple):
    """`value`: the JSON of the text, None if it is none."""

    status: int
    text: str
    value: Any


class Server:
    """A model server at this URL. Raises CommandFailed if nothing answers there."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            self.host, self.port = parts.hostname or "", parts.port
        except ValueError as error:
            raise CommandFailed(USAGE, f"{url}: {error}") from None
        if parts.scheme not in ("http", "https") or not self.host:
            raise CommandFailed(
                USAGE, f"{url}: the URL of a model server must look like http://127.0.0.1:8000"
            )
        self.secure = parts.scheme == "https"
        self.base = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{self.base}"

    def get(self, path: str) -> Answer:
        """Raises CommandFailed."""
        make = HTTPSConnection if self.secure else HTTPConnection
        connection = make(self.host, self.port, timeout=PATIENCE)
        try:
            connection.request("GET", f"{self.base}{path}", headers={"Accept": "application/json"})
            answer = connection.getresponse()
            text = answer.read(_LARGEST).decode(errors="replace")
        except (OSError, HTTPException) as error:
            raise CommandFailed(
                UNREACHABLE,
                f"nothing answers at {self.url}: {str(error) or type(error).__name__}",
                "Start the model server first, or leave --from out and edit the file.",
            ) from None
        finally:
            connection.close()
        try:
            return Answer(answer.status, text, json.loads(text))
        except ValueError:
            return Answer(answer.status, text, None)


def found_at(url: str) -> Found:
    """Raises CommandFailed if nothing answers there."""
    server = Server(url)
    health = next((path for path in _HEALTH if server.get(path).status == 200), "")
    if health and server.get(_NOWHERE).status == 200:
        health = ""  # it answers 200 to everything, so that says nothing of its health
    return (
        _oip(server, health)
        or _openai(server, health)
        or _by_document(server, health)
        or _mlflow(server, health)
    )


def _oip(server: Server, health: str) -> Found | None:
    """The Open Inference Protocol says its name and version at /v2."""
    status, _, answer = server.get("/v2")
    if (
        status != 200
        or not isinstance(answer, dict)
        or ("extensions" not in answer and "version" not in answer)
    ):
        return None
    name = str(answer.get("name", "a server"))
    if (document := _by_document(server, health)) is not None and document.path == "/predict":
        return document  # it speaks both, and its clients usually use the shorter path
    return Found("oip_v2", "/v2/models", health, f"{name} speaks the Open Inference Protocol")


def _openai(server: Server, health: str) -> Found | None:
    status, _, answer = server.get("/v1/models")
    if status != 200 or not isinstance(answer, dict):
        return None
    if isinstance(answer.get("data"), list):
        return Found("openai", "/v1", health, "it lists models as OpenAI's API does")
    if isinstance(answer.get("models"), list):
        return Found("kserve_v1", "/v1/models", health, "it lists models as KServe v1 does")
    return None


def _by_document(server: Server, health: str) -> Found | None:
    """An OpenAPI document, as FastAPI and BentoML have: the POST path that predicts."""
    status, _, answer = server.get("/openapi.json")
    paths = answer.get("paths") if status == 200 and isinstance(answer, dict) else None
    if not isinstance(paths, dict):
        return None
    posts = [
        path
        for path, methods in paths.items()
        if isinstance(methods, dict) and "post" in methods and "{" not in path
    ]
    named = [path for path in posts if any(word in path.lower() for word in _PREDICTS)]
    chosen = min(named or posts, key=len, default="")
    if not chosen:
        return None
    protocol = "mlflow" if chosen.endswith("/invocations") else ""
    return Found(protocol, chosen, health, f"its OpenAPI document has POST {chosen}")


def _mlflow(server: Server, health: str) -> Found:
    """An MLflow server answers /ping and says its version; others stay unknown."""
    version = server.get("/version")
    if (
        server.get("/ping").status == 200
        and version.status == 200
        and _VERSION.fullmatch(version.text.strip())
    ):
        return Found("mlflow", "/invocations", "/ping", "it answers /ping and /version as MLflow does")
    return Found("", "", health, "its protocol is not known")
