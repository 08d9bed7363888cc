"""Registers a version of the folder with an MLflow server too, by its REST API: a model version with tags, and the alias `challenger`.

Rule: an order has one version there. The model stays in the folder; MLflow knows where it is served.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from crossfade_backends.registry import Metadata

TIMEOUT = 30.0  # seconds
CHALLENGER = "challenger"


class MlflowError(Exception):
    """The server does not answer, or refuses. The message says why."""


def register(uri: str, metadata: Metadata) -> str:
    """The number of the version there. One in staging gets the alias; one that is registered already keeps its number."""
    number = _number_of(uri, metadata) or _created(uri, metadata)
    if metadata.stage == "staging":
        alias = {"name": metadata.name, "alias": CHALLENGER, "version": number}
        _ask(uri, "POST", "registered-models/alias", alias)
    return number


def _number_of(uri: str, metadata: Metadata) -> str | None:
    """Of the version that has the tag of this order."""
    text = f"name='{metadata.name}'"
    found = _ask(uri, "GET", f"model-versions/search?filter={quote(text)}&max_results=1000")
    for version in found.get("model_versions", []):
        tags = {tag["key"]: tag.get("value") for tag in version.get("tags", [])}
        if tags.get("order") == metadata.tags.get("order"):
            return str(version["version"])
    return None


def _created(uri: str, metadata: Metadata) -> str:
    try:
        _ask(uri, "POST", "registered-models/create", {"name": metadata.name})
    except MlflowError as error:
        if "RESOURCE_ALREADY_EXISTS" not in str(error):
            raise
    measured = {name: f"{value:.6g}" for name, value in metadata.metrics.model_dump().items()}
    tags = {"version": metadata.version, **metadata.tags, **measured}
    body = {
        "name": metadata.name,
        # MLflow takes no path of the machine; it is told where the folder has the version.
        "source": f"crossfade://{metadata.name}/{metadata.version}",
        "description": f"{metadata.framework}, trained for order {metadata.tags.get('order')}",
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
    return str(_ask(uri, "POST", "model-versions/create", body)["model_version"]["version"])


def _ask(uri: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    try:
        url = f"{uri.rstrip('/')}/api/2.0/mlflow/{path}"
        with urlopen(Request(url, data, headers, method=method), timeout=TIMEOUT) as answer:
            return json.load(answer)
    except HTTPError as error:
        raise MlflowError(
            f"MLflow answered {error.code}: {error.read(500).decode(errors='replace')}"
        ) from None
    except (URLError, OSError, ValueError) as error:
        raise MlflowError(f"MLflow cannot be reached: {error}") from None
