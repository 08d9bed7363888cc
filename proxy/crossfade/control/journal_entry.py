"""What the journal is given: a decision, and the state behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from crossfade.control.route_record import EvidenceBy, RouteRecord
from crossfade.control.store import Endpoints
from crossfade.control.views import Decision


class Entry(msgspec.Struct):
    """A decision without number and hash, and the state behind it. No record: the route is gone.

    `drained`: all endpoints that are; `retrainings`: all orders to train models, as JSON. With one of these, or where it `is_apart`, the
    routes stay as they are.
    """

    draft: Decision
    record: RouteRecord | None
    evidence: EvidenceBy = {}
    drained: Endpoints | None = None
    retrainings: str | None = None
    is_apart: bool = False

    @property
    def is_of_route(self) -> bool:
        return self.drained is None and self.retrainings is None and not self.is_apart


class Sealed(NamedTuple):
    decision: Decision
    entry: Entry


class Attempt:
    """Entries that must be on disk before they act. `is_given_up`: they did not act."""

    def __init__(self, entries: Sequence[Entry], undo: Sequence[Entry]) -> None:
        self.entries, self.undo = entries, undo
        self.is_given_up = False
