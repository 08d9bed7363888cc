"""The values that the API shows of the configuration, and of a load of it."""

from __future__ import annotations

import msgspec


class LoadedChange(msgspec.Struct):
    """What a load of the configuration does. `route`: None if it is no decision about a route."""

    route: str | None
    action: str
    reason: str


class LoadPreview(msgspec.Struct):
    """What a load would do. `refused`: why it would not be accepted; `restart_needed`: keys that act after a restart."""

    changes: list[LoadedChange]
    refused: str
    restart_needed: list[str]


class ConfigView(msgspec.Struct):
    """`restart_needed`: keys of the file that act at the next start of the proxy only, as they differ from the last start.

    `differs`: from the file, as another configuration was applied since.
    """

    source: str
    hash: str
    ok: bool
    error: str
    loaded_at: float
    restart_needed: list[str]
    differs: bool = False
