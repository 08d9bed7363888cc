"""What the configuration file last said of a route: the third side of a reload, beside the new file and the state.

Rule (law 13): a reload applies the difference between this and the new file, and nothing else. So the state keeps it with the
route. Values that may be secret are kept as a digest only.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from crossfade.config.model import Config, RouteConfig
from crossfade.config.section import Section
from crossfade.rollout.plan import Plan
from crossfade.rollout.strategy import plans_of

_ELSEWHERE = {"name", "split", "rollout", "renamed_from"}  # compared on their own, or not at all
_SECRET = {"notify", "headers", "webhook", "secret"}  # keys whose values may hold credentials


class Applied(msgspec.Struct, frozen=True):
    """`plans` by challenger; `versions` of the backends that the route names; `settings`: the other keys, as JSON values.

    `hashed_as`: the name that sticky keys are hashed with, if the route was renamed. `restarted`: the challengers whose
    rollout says `restart: true`. A state of format 4 knows the split only (`is_known` is False).
    """

    split: dict[str, int]
    plans: dict[str, Plan] = {}
    versions: dict[str, str | None] = {}
    settings: dict[str, Any] = {}
    hashed_as: str = ""
    restarted: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        return bool(self.versions)


def applied_of(route: RouteConfig, config: Config, hashed_as: str) -> Applied:
    """What this file says of the route."""
    settings = settings_of(route, _ELSEWHERE, config.from_variables)
    for key in settings["sticky"]:
        key.pop("assign")  # how its cookie is set is no part of the key: an edit of that moves nobody
    for rollout in route.rollout:
        if rollout.cut_after is not None:
            settings[f"cut_after of {rollout.challenger}"] = rollout.cut_after
    return Applied(
        split=route.split,
        plans=plans_of(route),
        versions={name: config.backends[name].version for name in _named_backends(route)},
        settings=settings,
        hashed_as=hashed_as,
        restarted=tuple(rollout.challenger for rollout in route.rollout if rollout.restart),
    )


def settings_of(section: Section, exclude: set[str], hidden: frozenset[str]) -> dict[str, Any]:
    """The keys of a section of the file as JSON values, without secrets and `hidden` values."""
    found: dict[str, Any] = _without_secrets(section.model_dump(mode="json", exclude=exclude), hidden)
    return found


def _named_backends(route: RouteConfig) -> list[str]:
    """In the order of the file, each once."""
    names = [*route.split]
    for rollout in route.rollout:
        names += [rollout.champion, rollout.challenger]
    names += [mirror.to for mirror in route.mirror] + ([route.fallback] if route.fallback else [])
    return list(dict.fromkeys(names))


def _without_secrets(value: Any, hidden: frozenset[str], key: str = "") -> Any:
    if (key in _SECRET and value) or (isinstance(value, str) and value in hidden):
        return "sha256:" + sha256(repr(value).encode()).hexdigest()[:16]
    if isinstance(value, dict):
        return {name: _without_secrets(inner, hidden, name) for name, inner in value.items()}
    return [_without_secrets(inner, hidden) for inner in value] if isinstance(value, list) else value
