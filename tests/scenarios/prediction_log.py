"""Reads a prediction log beside the proxy that writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossfade.control.prediction_logs import PredictionLogs


async def logged(folder: Path, query: str, route: str = "churn") -> list[tuple[Any, ...]]:
    """The rows of a query; none while there is no log. `folder`: of the proxy."""
    logs = PredictionLogs(folder / "state.db.predictions")
    return await logs.read(route, lambda connection: connection.execute(query).fetchall()) or []
