"""What a caller has seen of what it changes: the tags of `ETag` and `If-Match`.

Rule: a tag names the state that commands act on, not the numbers of traffic. It is compared where the change is made, behind
the lock, so that of two callers who have seen the same only the first one changes it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import msgspec

from crossfade.control.refusal import Changed
from crossfade.control.route_record import RouteRecord

Seen = frozenset[str] | None  # one of these tags; None: whatever it is now


class Meant(NamedTuple):
    """Which rollout of a route a command is for, where there are several, and what the caller has seen of it."""

    challenger: str | None = None
    seen: Seen = None


def tag_of_route(record: RouteRecord, config_hash: str) -> str:
    """Of its split and ledger, its rollouts, and the configuration."""
    home = record.home.version if record.home is not None else None
    state = (config_hash, record.ledger.version, home, record.rollouts, record.latched)
    return blake2b(msgspec.json.encode(state), digest_size=12).hexdigest()


def tag_of_config(config_hash: str, loaded_at: float) -> str:
    """Each load makes another one."""
    return blake2b(msgspec.json.encode((config_hash, loaded_at)), digest_size=12).hexdigest()


def require(seen: Seen, tag: str, what: str) -> None:
    """Raises Changed."""
    if seen is not None and tag not in seen:
        raise Changed(f"{what} has changed since you looked at it: nothing was done; look again")
