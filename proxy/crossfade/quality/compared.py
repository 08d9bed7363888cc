"""One pair, compared: the champion's and the challenger's answers to one request, and the champion's second answer.

Rule: in tests one row of a batch, drawn by the request's id, stands for the request: rows of one request depend on each
other. The report counts all rows.
"""

from __future__ import annotations

import msgspec


class Compared(msgspec.Struct, frozen=True):
    """`changed`, the decisions and the scores are of the row that stands for the request. `distance`: 0 to 1, the mean over rows.

    `raised`: whether the challenger decided yes where the champion decided no; None where decisions are not yes or no.
    `missing`: the challenger said nothing where the champion did. `noise_…`: the champion's second answer beside its
    first; None: it was not asked twice. Seconds: of the answer to the client, of the copy, and of the second answer.
    `segments`: in the order of `prediction.segment`, empty: unknown. `fields`: paths whose values differ between champion
    and challenger; `noise_fields`: between the champion's two answers. `champion` and `challenger`: the answers for
    people, shortened and redacted; empty where the pair is not shown.
    """

    request_id: str
    at: float  # seconds since the epoch
    key: int | None
    changed: bool
    raised: bool | None
    distance: float
    missing: bool = False
    noise_changed: bool | None = None
    noise_distance: float | None = None
    champion_score: float | None = None
    challenger_score: float | None = None
    champion_decision: str = ""
    challenger_decision: str = ""
    rows: int = 1
    rows_changed: int = 0
    live_seconds: float = 0.0
    copy_seconds: float | None = None
    second_seconds: float | None = None
    segments: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    noise_fields: tuple[str, ...] = ()
    champion: str = ""
    challenger: str = ""
    copy_failed: bool = False  # the challenger's answer is an error
    decided: bool = True  # the champion's answer says a decision; if not, `changed` says nothing
