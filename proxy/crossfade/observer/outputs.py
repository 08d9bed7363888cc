"""What answers said, for the prediction logs. Every answer that is read counts: the sampling of a worker is the limit."""

from __future__ import annotations

from collections.abc import Mapping

from crossfade.quality.answer import Answer, Decision, Row, decision_of, score_of
from crossfade.quality.comparing import row_of
from crossfade.quality.logged import LoggedBatch, LoggedOutput, batch_of_outputs
from crossfade.quality.samples import Asked

LARGEST_INT = 2**63  # a message can carry integers below this limit


class Outputs:
    """`logged`: the routes, and whether bodies of requests are kept."""

    def __init__(self) -> None:
        self.logged: Mapping[str, bool] = {}
        self.rows: dict[str, list[LoggedOutput]] = {}  # by route

    def add(self, route: str, backend: str, asked: Asked, row: Row, segment: tuple[str, ...]) -> None:
        """What the client got, and what it asked. Only of a route in `logged`."""
        score, label = score_of(row), storable(decision_of(row, None))
        body = (asked.body or None) if self.logged[route] else None
        self._add(route, LoggedOutput(asked.request_id, backend, score, label, segment, body=body))

    def add_copy(self, route: str, backend: str, asked: Asked, answer: Answer) -> None:
        """The answer to a mirrored copy of the request, if it says anything."""
        if route not in self.logged:
            return
        row = row_of(answer.rows, asked.request_id)
        score, label = score_of(row), storable(decision_of(row, None))
        if score is not None or label is not None:
            self._add(route, LoggedOutput(asked.request_id, backend, score, label, copy=True))

    def _add(self, route: str, output: LoggedOutput) -> None:
        self.rows.setdefault(route, []).append(output)

    def take(self) -> list[LoggedBatch]:
        taken, self.rows = self.rows, {}
        return [batch_of_outputs(route, rows) for route, rows in taken.items()]


def storable(label: Decision | None) -> Decision | None:
    if isinstance(label, int) and not -LARGEST_INT <= label < LARGEST_INT:
        return None
    return label
