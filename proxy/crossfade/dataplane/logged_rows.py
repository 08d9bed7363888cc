"""Rows for the prediction log: one for each exchange of a route with `feedback`, until the next report takes them.

Limit: MOST rows since the last report. Those above are dropped and counted, with the reason `prediction_log`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossfade.dataplane.runtime import wall_time_of
from crossfade.quality.logged import LoggedBatch, LoggedExchange, batch_of_exchanges

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState
    from crossfade.routing.router import AssignedBackend

MOST = 16_384


class LoggedRows:
    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {}  # by route
        self.n = 0
        self.dropped = 0  # since the last flush of the counts

    def add(self, exchange: ExchangeState, assigned: AssignedBackend, now: float) -> None:
        if self.n >= MOST:
            self.dropped += 1
            return
        self.n += 1
        route, backend, role, version, _ = assigned.cell
        by = exchange.answered_by
        row = LoggedExchange(
            exchange.request_id,
            wall_time_of(now),
            backend,
            role,
            version,
            exchange.key,
            exchange.status,
            now - exchange.started,
            by,
            exchange.blamed,
        )
        rows = self.rows.get(route)
        if rows is None:
            self.rows[route] = rows = []
        rows.append(row)

    def take(self) -> list[LoggedBatch]:
        """The rows since the last call. The limit starts again."""
        taken, self.rows = self.rows, {}
        self.n = 0
        return [batch_of_exchanges(route, rows) for route, rows in taken.items()]

    def take_dropped(self) -> int:
        dropped, self.dropped = self.dropped, 0
        return dropped
