"""Where the configuration file and the state of a route say different things, and the edit that would make them agree.

Rule (law 13): traffic moves only by an edit of `split` or by another rollout. So a promote, an abort and a split by command leave
the file behind; that is reported, never repaired.
"""

from __future__ import annotations

from collections.abc import Mapping

from crossfade.config.model import Config, RouteConfig
from crossfade.control.edits import split_words
from crossfade.control.route_record import RouteRecord
from crossfade.control.views import Disagreement
from crossfade.rollout.machine import Phase
from crossfade.rollout.strategy import split_for_step
from crossfade.scale import WHOLE


def disagreements(route: RouteConfig, record: RouteRecord) -> list[Disagreement]:
    """None while a rollout runs and what it will return to is the file's split."""
    out = []
    promoted = [state for state in record.rollouts.values() if state.phase is Phase.PROMOTED]
    if any(state.is_running for state in record.rollouts.values()) and record.home is not None:
        wanted, held = _without_challengers(route, record), _with_share(record.home.weights)
    else:
        wanted, held = _with_share(route.split), _with_share(_without_holdback(record))
    if wanted != held:
        out.append(Disagreement("split", split_words(wanted), split_words(held), written(held)))
    for state in promoted:
        stands = f"{state.challenger} as the champion since its promote"
        out.append(Disagreement("rollout", f"{state.challenger} is to replace {state.champion}", stands, ""))
    return out


RESTART_KEYS = ("listen", "tls", "admin", "workers", "state")


def restart_needed(started_with: Config, config: Config) -> list[str]:
    """The keys whose value acts at a start only, and differs from that at the last start."""
    return [key for key in RESTART_KEYS if _acts_at_start(started_with, key) != _acts_at_start(config, key)]


def _acts_at_start(config: Config, key: str) -> object:
    """Tokens of the admin API act at once."""
    return (config.admin.listen, config.admin.tls) if key == "admin" else getattr(config, key)


def _with_share(weights: Mapping[str, int]) -> dict[str, int]:
    return {name: weight for name, weight in sorted(weights.items()) if weight}


def _without_holdback(record: RouteRecord) -> dict[str, int]:
    """The weights after the watch: a promoted challenger is the champion, and gets what a watch holds back."""
    weights = record.ledger.weights
    for state in record.rollouts.values():
        if state.held_back:
            weights = split_for_step(weights, state.champion, state.challenger, WHOLE)
    return weights


def _without_challengers(route: RouteConfig, record: RouteRecord) -> dict[str, int]:
    """The file's split with the challengers' shares at the champion: what ends a rollout restores it."""
    split = dict(route.split)
    for state in record.rollouts.values():
        split[state.champion] = split.get(state.champion, 0) + split.pop(state.challenger, 0)
    return _with_share(split)


def written(weights: Mapping[str, int]) -> str:
    """As YAML: `{v2: 95%, v3: 5%}`."""
    return "{" + ", ".join(f"{name}: {weight / 100:.10g}%" for name, weight in weights.items()) + "}"
