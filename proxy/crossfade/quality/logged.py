"""What the prediction log gets of an exchange: from a worker when it ends, and from the observer what its answers said.

Rule: a worker passes on each exchange of a route with `feedback`, whatever it was answered. Outputs come later, and may be
missing: the observer may be behind, or the answer was not sampled.
"""

from __future__ import annotations

import msgspec

from crossfade.quality.answer import Decision


class LoggedExchange(msgspec.Struct, frozen=True, array_like=True):
    """One exchange. `backend`: the one assigned; `answered_by`: empty without an answer. `role`: of the assigned backend.

    `status`: what the client got, 0 for nothing. `seconds`: its duration. `key`: the sticky key's hash. `blamed`: it counts
    as an error of the backend.
    """

    request_id: bytes
    at: float  # seconds since the epoch, by the worker's clock, when it ended
    route: str
    backend: str
    role: str
    ledger_version: int
    key: int | None
    status: int
    seconds: float
    answered_by: str = ""
    blamed: bool = False


class LoggedOutput(msgspec.Struct, frozen=True, array_like=True):
    """What one answer to a logged request said. `backend`: whose answer it is.

    `copy`: the backend got a mirrored copy of the request. `label`: as `decision_of` without a threshold. `segment`: in the
    order of `prediction.segment`. `body`: of the request, where the route keeps inputs; once for each request.
    """

    request_id: bytes
    route: str
    backend: str
    score: float | None
    label: Decision | None
    segment: tuple[str, ...] = ()
    copy: bool = False
    body: bytes | None = None
