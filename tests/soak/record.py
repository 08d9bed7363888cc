"""What happened in a soak, as plain values: requests, faults, acknowledged commands, edits and measurements.

Rule: clients, models and faults write the record; `laws` and `journal_laws` read it after the end. All times are wall time, since
the journal's are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

FOR_EVER = float("inf")


class End(StrEnum):
    """How a request ended for its client."""

    PENDING = "no answer"
    ANSWERED = "answered"
    CUT = "cut after a part of the answer"
    CLOSED = "closed without an answer"
    UNSERVED = "pipelined behind the last answer of its connection"
    REFUSED = "no connection"
    LEFT = "the client left"


@dataclass(slots=True)
class Request:
    """`seen`: the backends that received it, in order; mirrors are not among them. `wrong`: what the answer lacks."""

    id: int
    path: str
    key: str
    begun: float
    end: End = End.PENDING
    ended: float = FOR_EVER
    status: int = 0
    assigned: str = ""
    error: str = ""
    wrong: str = ""
    seen: tuple[str, ...] = ()

    def finish(self, end: End) -> None:
        self.end, self.ended = end, time.time()

    def __str__(self) -> str:
        said = " ".join(filter(None, (str(self.status or ""), self.error, self.assigned)))
        return f"request {self.id} to {self.path} by {self.key} ({self.end}{': ' if said else ''}{said})"


@dataclass(slots=True)
class Fault:
    kind: str
    target: str
    begun: float
    ended: float = FOR_EVER

    def near(self, begun: float, ended: float, slack: float) -> bool:
        """Whether it was in force in this time, or less than `slack` seconds before."""
        return self.begun <= ended and begun <= self.ended + slack


@dataclass(slots=True)
class Acknowledged:
    """The proxy has said that from now on only `allowed` get the requests that begin on this path."""

    path: str
    what: str
    at: float
    allowed: frozenset[str]


@dataclass(slots=True)
class Edit:
    """An edit of the file that was loaded. `moves`: whether it may move traffic on its route, or change a rollout's phase."""

    what: str
    path: str
    begun: float
    ended: float
    moves: bool


@dataclass(slots=True)
class Usage:
    """Of one process at one time."""

    role: str
    at: float
    megabytes: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class Violation:
    law: str
    at: float
    what: str


@dataclass
class Record:
    begun: float = field(default_factory=time.time)
    requests: dict[int, Request] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)
    actions: list[tuple[float, str]] = field(default_factory=list)
    found: list[Violation] = field(default_factory=list)  # while it ran

    def new_request(self, path: str, key: str) -> Request:
        request = Request(len(self.requests) + 1, path, key, time.time())
        self.requests[request.id] = request
        return request

    def saw(self, request_id: int, backend: str) -> None:
        request = self.requests.get(request_id)
        if request is None:
            self.violate("1", f"{backend} received request {request_id}, which no client has sent")
        else:
            request.seen += (backend,)

    def act(self, what: str) -> None:
        self.actions.append((time.time(), what))

    def violate(self, law: str, what: str) -> None:
        self.found.append(Violation(law, time.time(), what))

    @contextmanager
    def fault(self, kind: str, target: str = "") -> Iterator[Fault]:
        fault = Fault(kind, target, time.time())
        self.faults.append(fault)
        self.act(f"{kind} {target}".rstrip())
        try:
            yield fault
        finally:
            fault.ended = time.time()
            self.act(f"end of: {kind} {target}".rstrip())
