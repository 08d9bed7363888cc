"""Where the pairs of a route are kept, as plain values, and what is kept of one."""

from __future__ import annotations

import msgspec


class Keep(msgspec.Struct, frozen=True):
    """`max`: bytes of all files of the route together. `rotate`: seconds after which a new file begins. `parquet`: its format,
    else JSON lines.
    """

    dir: str
    max: int
    rotate: float = 3600.0
    parquet: bool = False


class KeptPair(msgspec.Struct, omit_defaults=False):
    """One line or row of a file (docs/mirrors.md). Bodies are as they came; one that is no UTF-8 is in `…_base64` instead.

    Statuses are 0 and seconds null where there was no answer. `at`: seconds since the epoch.
    """

    route: str
    request_id: str
    at: float
    key: int | None
    target: str
    champion: str
    challenger: str
    champion_status: int
    challenger_status: int
    second_status: int | None
    champion_seconds: float
    challenger_seconds: float | None
    second_seconds: float | None
    changed: bool
    distance: float
    segments: dict[str, str]
    champion_body: str | None = None
    challenger_body: str | None = None
    second_body: str | None = None
    champion_base64: str | None = None
    challenger_base64: str | None = None
    second_base64: str | None = None
