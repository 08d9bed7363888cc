"""In words, what an edit of the file changes that is in no route's record: keys of the whole proxy, routes that answer themselves, the order.

Rule: a key that may hold a secret, or a program's address, is named without its value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crossfade.config.model import Config, RouteConfig
from crossfade.control.applied import settings_of
from crossfade.control.disagreement import RESTART_KEYS
from crossfade.control.edits import setting_edits

_SHOWN = {"drain", "limits", "metrics", "paths", "traceparent", "trusted_headers", "trusted_proxies"}
_OF_OTHERS = {"backends", "routes", *RESTART_KEYS}
_AT_A_START = {"listen", "tls"}  # of `admin`
_NOT_SAID = {"name"}


def proxy_edits(before: Config, after: Config) -> list[str]:
    """Not the keys that act at the next start, which are said apart."""
    return [*_of_keys(before, after), *_of_own_routes(before, after), *_of_the_order(before, after)]


def _of_keys(before: Config, after: Config) -> Iterator[str]:
    hidden = set(Config.model_fields) - _SHOWN
    yield from setting_edits(
        settings_of(before, hidden, before.from_variables), settings_of(after, hidden, after.from_variables)
    )
    for key in Config.model_fields:
        if key in hidden - _OF_OTHERS and getattr(before, key) != getattr(after, key):
            yield f"{key}: changed"
    if before.admin.model_dump(exclude=_AT_A_START) != after.admin.model_dump(exclude=_AT_A_START):
        yield "admin: changed"


def _of_own_routes(before: Config, after: Config) -> Iterator[str]:
    was, now = _own_routes(before), _own_routes(after)
    present = {route.name for route in after.routes}
    yield from (f"route {name}, which answered itself, is gone" for name in was if name not in present)
    for name, route in now.items():
        former = was.get(name)
        if former is None:
            yield f"route {name} answers itself now, by {_way(route)}"
        else:
            old, new = (
                settings_of(of, _NOT_SAID, config.from_variables)
                for of, config in ((former, before), (route, after))
            )
            yield from (f"route {name}: {edit}" for edit in setting_edits(old, new))


def _own_routes(config: Config) -> Mapping[str, RouteConfig]:
    return {route.name: route for route in config.routes if route.answers_itself}


def _way(route: RouteConfig) -> str:
    return "redirect" if route.respond is None else f"respond with {route.respond.status}"


def _of_the_order(before: Config, after: Config) -> Iterator[str]:
    """The first route that matches gets a request, so their order is a change too."""
    names, known = [route.name for route in after.routes], {route.name for route in before.routes}
    was = [route.name for route in before.routes if route.name in names]
    now = [name for name in names if name in known]
    if was != now:
        yield f"the order of the routes: {', '.join(was)} → {', '.join(now)}; the first that matches gets a request"
