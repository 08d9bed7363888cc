"""States of format 4 under the names of format 5.

Format 4 told models apart by a digest of name, version and endpoints; now by name and version. The endpoints are in the
configuration only, so this is done at the first load after the upgrade.
"""

from __future__ import annotations

import json
from hashlib import sha256

from msgspec.structs import replace

from crossfade.config.model import Config
from crossfade.control.route_record import RouteRecord
from crossfade.rollout.machine import RolloutState


def model_of(backend: str, config: Config) -> str:
    """What is on trial: the backend's name and its version. Endpoints come and go and do not change it."""
    known = config.backends.get(backend)
    return backend if known is None or known.version is None else f"{backend}@{known.version}"


def identity_of(champion: str, challenger: str, config: Config) -> str:
    return f"{model_of(champion, config)} → {model_of(challenger, config)}"


def adopted(record: RouteRecord, config: Config) -> RouteRecord:
    """A record of format 4 with models named as today; any other as it is."""
    if record.applied.is_known:
        return record
    names = {_digest_4(name, config): model_of(name, config) for name in config.backends}
    for state in record.rollouts.values():
        names[state.content] = model_of(state.challenger, config)
    return replace(
        record,
        rollouts={name: _renamed(state, config) for name, state in record.rollouts.items()},
        latched={names.get(content, content): why for content, why in record.latched.items()},
    )


def _renamed(state: RolloutState, config: Config) -> RolloutState:
    identity = identity_of(state.champion, state.challenger, config)
    return replace(state, identity=identity, content=model_of(state.challenger, config))


def _digest_4(backend: str, config: Config) -> str:
    found = config.backends[backend]
    parts = [backend, found.version, sorted(e.name for e in found.endpoints)]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
