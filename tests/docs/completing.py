"""A part of a configuration that a page shows, made whole: with the sections that it belongs to and the names that it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from crossfade.config.backend import BackendConfig
from crossfade.config.model import Config
from crossfade.config.rollout import RolloutConfig
from crossfade.config.route import RouteConfig
from crossfade.config.section import Section

Mapped = dict[str, Any]
_LEVELS: dict[str, type[Section]] = {
    "top": Config,
    "route": RouteConfig,
    "rollout": RolloutConfig,
    "backend": BackendConfig,
}
_KEYS = {level: {f.alias or n for n, f in section.model_fields.items()} for level, section in _LEVELS.items()}
_SECRET = "0123456789abcdef0123456789abcdef"


def environment(text: str) -> dict[str, str]:
    """A value for each variable that the text has."""
    values = {"ENDPOINT": "http://model:8000"}
    return {name: values.get(name, _SECRET) for name in re.findall(r"\$\{([A-Z0-9_]+)", text)}


def completed(text: str, indented: bool) -> str:
    """A whole file. A text that has `listen`, `backends` and `routes` stays as it is.

    `indented`: the text is not of the top of a file. Raises ValueError where its keys are of no section.
    """
    shown = re.sub(r"^ *…\n", "", text, flags=re.MULTILINE)
    keys = yaml.load(shown, yaml.BaseLoader)  # `on` is a key, not a truth
    if not isinstance(keys, dict):
        raise ValueError("a block of YAML is a mapping")
    if {"listen", "backends", "routes"} <= keys.keys():
        return shown
    return yaml.safe_dump(_whole(_placed(keys, indented)), sort_keys=False)


def _placed(keys: Mapped, indented: bool) -> dict[str, Mapped]:
    """The keys by level: all at one level where that can be, else each at the first that knows it."""
    levels = [level for level in _LEVELS if not (indented and level == "top")]
    for level in levels:
        if keys.keys() <= _KEYS[level]:
            return {level: keys}
    placed = dict[str, Mapped]()
    for key, value in keys.items():
        knowing = [level for level in levels if key in _KEYS[level]]
        if not knowing:
            raise ValueError(f"no section has the key {key}")
        placed.setdefault(knowing[0], {})[key] = value
    return placed


def _whole(placed: Mapping[str, Mapped]) -> Mapped:
    top = dict(placed.get("top", {}))
    routes = [dict(route) for route in top.get("routes") or [{}]]
    routes[0] |= placed.get("route", {})
    if rollout := placed.get("rollout"):
        routes[0]["rollout"] = rollout
    backends: Mapped = dict(top.get("backends") or {})
    if own := placed.get("backend"):
        backends["churn-v2"] = own
    for number, route in enumerate(routes):
        _complete_route(route, number, next(iter(backends), "churn-v2"))
    for name in {name: None for route in routes for name in _named(route)} or ["churn-v2"]:
        backends.setdefault(name, {"endpoints": f"http://{name}:8000"})
    for backend in backends.values():
        backend.setdefault("endpoints", "http://model:8000")
    if any(check.get("metric") == "prometheus" for route in routes for check in _checks(route)):
        top.setdefault("prometheus", {"url": "http://prometheus:9090"})
    return {"listen": "127.0.0.1:8080"} | top | {"backends": backends, "routes": routes}


def _rollouts(route: Mapped) -> list[Mapped]:
    written = route.get("rollout") or []
    return written if isinstance(written, list) else [written]


def _checks(route: Mapped) -> list[Mapped]:
    return [check for rollout in _rollouts(route) for check in rollout.get("checks") or []]


def _complete_route(route: Mapped, number: int, backend: str) -> None:
    route.setdefault("name", f"churn-{number}" if number else "churn")
    if "match" not in route:
        route["match"] = {"path": f"/predict/{number}" if number else "/predict"}
    if "redirect" in route or "respond" in route:
        return
    for rollout in _rollouts(route):
        for key, value in {"strategy": "canary", "champion": "churn-v2", "challenger": "churn-v3"}.items():
            rollout.setdefault(key, value)
    champion = next((rollout["champion"] for rollout in _rollouts(route)), backend)
    route.setdefault("split", {champion: "100%"})
    metrics = {check.get("metric") for check in _checks(route)}
    noisy = any("noise" in mirror for mirror in _mirrors(route))
    if noisy or metrics & _OF_ANSWERS:
        route.setdefault("prediction", {"score": "churn_probability", "decision": "0.5"})
    if "kpi" in metrics or "retrain" in route:
        route.setdefault("feedback", {"horizon": "7d"})
    if metrics & _OF_DRIFT:
        route.setdefault("drift", {"baseline": "live"})
    if any("mirror" in step for rollout in _rollouts(route) for step in rollout.get("steps") or []):
        route.setdefault("retry", {"pure": True})


_OF_DRIFT = {"data_drift", "score_drift"}
_OF_ANSWERS = {"unreadable", "score_divergence", "disagreement", "distance"} | _OF_DRIFT


def _mirrors(route: Mapped) -> list[Mapped]:
    written = route.get("mirror") or []
    return written if isinstance(written, list) else [written]


def _named(route: Mapped) -> Iterator[str]:
    """The backends that a route names."""
    yield from route.get("split") or ()
    if "fallback" in route:
        yield route["fallback"]
    yield from (mirror["to"] for mirror in _mirrors(route))
    for rollout in _rollouts(route):
        yield from (name for name in (rollout["champion"], rollout["challenger"]) if isinstance(name, str))
