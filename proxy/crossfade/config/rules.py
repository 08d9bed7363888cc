"""Rules about several values of a configuration together.

Rule: the rules read the document, not the models, so that an error in one place does not hide another.
A rule skips values that are not valid; the models report those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydantic import ValidationError

from crossfade.config import address
from crossfade.config.address import EndpointConfig, ListenConfig
from crossfade.config.admin_rules import ADMIN_RULES
from crossfade.config.assign_rules import ASSIGN_RULES
from crossfade.config.cache import CACHE_RULES
from crossfade.config.comparison_rules import COMPARISON_RULES
from crossfade.config.document import Document, Loc, Node
from crossfade.config.drift import DRIFT_RULES
from crossfade.config.goal_rules import GOAL_RULES
from crossfade.config.listener_rules import LISTENER_RULES
from crossfade.config.masking import MASK, secret_places
from crossfade.config.match import MatchConfig
from crossfade.config.mirror_rules import MIRROR_RULES
from crossfade.config.notify import NOTIFY_RULES
from crossfade.config.own_answer_rules import OWN_ANSWER_RULES
from crossfade.config.path_rules import PATH_RULES
from crossfade.config.problem import MAX_SUGGESTIONS, BadValue, Problem, listed, nearest
from crossfade.config.reach import EarlierRoutes
from crossfade.config.request_rules import REQUEST_RULES
from crossfade.config.retrain_rules import RETRAIN_RULES
from crossfade.config.rollout_rules import ROLLOUT_RULES
from crossfade.config.traces import TRACES_RULES

_MAX_COMPARED = 100  # listeners; each is compared with all, and more than a few are no configuration
_PATH_KINDS = ("path", "prefix", "regex")


def _unknown_backends(document: Document) -> Iterator[Problem]:
    backends = document.root.child("backends")
    if backends is None or not backends.entries:
        return
    unknown = (each for each in _backend_names(document) if each[1] not in backends.entries)
    for number, (loc, name, at_key) in enumerate(unknown):
        near = nearest(name, backends.entries) if number < MAX_SUGGESTIONS else None
        yield document.problem(loc, f'no backend is named "{name}"', near, at_key=at_key)


def _unused_backends(document: Document) -> Iterator[Problem]:
    backends = document.root.child("backends")
    used = {name for _, name, _ in _backend_names(document)}
    for name in backends.entries if backends else ():
        if name not in used:
            loc = ("backends", name)
            yield document.problem(loc, "no route uses this backend", at_key=True, severity="warning")


def _backend_names(document: Document) -> Iterator[tuple[Loc, str, bool]]:
    """Each place that names a backend: its location, the name, and whether the name is a key there."""
    for loc, node in document.each("routes", "*", "split"):
        yield from (((*loc, name), name, True) for name in node.entries)
    for loc, node in document.each("routes", "*", "drift", "baseline"):
        yield from (((*loc, name), name, True) for name in node.entries)
    for place in (
        ("fallback",),
        ("mirror", "*", "to"),
        ("rollout", "*", "champion"),
        ("rollout", "*", "challenger"),
    ):
        for loc, node in document.each("routes", "*", *place):
            if node.text is not None:
                yield loc, node.text, False


def _repeated_route_names(document: Document) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for loc, node in document.each("routes", "*", "name"):
        if node.text in first:
            message = f'the route in line {first[node.text]} has the name "{node.text}" too'
            yield document.problem(loc, message)
        elif node.text is not None:
            first[node.text] = node.mark.line


def _former_names(document: Document) -> Iterator[Problem]:
    """A former name is nobody's name now, and one route's only: its rollouts go on under one name."""
    names = {node.text for _, node in document.each("routes", "*", "name")}
    first: dict[str, int] = {}
    for loc, node in document.each("routes", "*", "renamed_from"):
        if node.text is None:
            continue
        if node.text in names:
            yield document.problem(loc, f'a route of this file is called "{node.text}"')
        elif node.text in first:
            message = f'the route in line {first[node.text]} was renamed from "{node.text}" too'
            yield document.problem(loc, message)
        first.setdefault(node.text, node.mark.line)


def _repeated_endpoints(document: Document) -> Iterator[Problem]:
    """One address with several paths, or with requests that are rewritten in several ways, may be several models."""
    first: dict[tuple[str, str], int | str] = {}
    for loc, node, endpoint in _endpoints(document):
        name = endpoint.path or f"{endpoint.authority}{endpoint.base}"
        request = document.root.child("backends", str(loc[1]), "request")
        model = name, "" if request is None else repr(request.plain())
        if model in first:
            message = f"{_as_written(node, name)} is already an endpoint of {first[model]}"
            yield document.problem(loc, message, severity="warning")
        first.setdefault(model, loc[1])


def _as_written(node: Node, value: str) -> str:
    """The value that was read from the node, or the text of the node if that has variables."""
    return f"{node.value}" if node.has_variables else value


def _endpoints(document: Document) -> Iterator[tuple[Loc, Node, EndpointConfig]]:
    for loc, node in document.each("backends", "**", "endpoints", "*"):
        if loc[-1] == "weight":  # of a single endpoint that is not in a list
            continue
        url = node.child("url")
        try:
            yield (
                (loc, node, address.endpoint(node.value))
                if url is None
                else ((*loc, "url"), url, address.endpoint(url.value))
            )
        except BadValue:
            continue


def _weights_of_nothing(document: Document) -> Iterator[Problem]:
    """A backend whose endpoints all have weight 0 answers nothing."""
    for loc, node in document.each("backends", "**", "endpoints"):
        entries = list(node.value) if isinstance(node.value, list) else [node]
        weights = [entry.child("weight") for entry in entries]
        if weights and all(weight is not None and weight.value == "0" for weight in weights):
            yield document.problem(loc, "must have one with a weight above 0")


def _unused_tls(document: Document) -> Iterator[Problem]:
    with_tls = {loc[1] for loc, _, endpoint in _endpoints(document) if endpoint.tls}
    for loc, node in document.each("backends", "**", "tls"):
        if node.child("key") is not None and node.child("cert") is None:
            yield document.problem((*loc, "key"), 'needs the key "cert" too', at_key=True)
        if node.given and loc[1] not in with_tls:
            message = "has no effect, since no endpoint is https://"
            yield document.problem(loc, message, at_key=True, severity="warning")


def _overlapping_listeners(document: Document) -> Iterator[Problem]:
    bound: list[tuple[ListenConfig, str]] = []
    for loc, node, listener in _listeners(document):
        name = _as_written(node, listener.authority)
        other = next((written for known, written in bound if known.overlaps(listener)), None)
        if other is not None:
            yield document.problem(loc, f"{name} overlaps with the listener {other}")
        if len(bound) < _MAX_COMPARED:
            bound.append((listener, name))


def _listeners(document: Document) -> Iterator[tuple[Loc, Node, ListenConfig]]:
    for place in (("listen", "*"), ("listen", "*", "address"), ("admin", "listen")):
        for loc, node in document.each(*place):
            try:
                yield loc, node, address.listen(node.value)
            except BadValue:
                continue


def _masked_secrets(document: Document) -> Iterator[Problem]:
    """The admin API and `export` show secrets as stars; such a text must not become the configuration."""
    for place in sorted(secret_places()):
        for loc, node in document.each(*place):
            if node.text is not None and MASK in node.text:
                message = f"{MASK} stands for a secret that was not shown; write the secret, or a variable"
                yield document.problem(loc, message)
    for loc, node in document.each("prometheus", "url"):
        if node.text is not None and MASK in node.text:
            message = f"{MASK} stands for a login or a query that was not shown; write it, or a variable"
            yield document.problem(loc, message)


def _everybody_trusted(document: Document) -> Iterator[Problem]:
    for loc, node in document.each("trusted_proxies", "*"):
        try:
            trusts_all = address.network(node.value).endswith("/0")
        except BadValue:
            continue
        if trusts_all:
            message = "this range trusts every address, so any client can forge its own address"
            yield document.problem(loc, message, severity="warning")


def _empty_sections(document: Document) -> Iterator[Problem]:
    """`health:` with no value would turn the section off, although its writer wanted the defaults."""
    for place in (
        ("routes", "*", "rollout", "*", "fuse"),
        ("backends", "**", "health"),
        ("backends", "**", "eject"),
        ("access_log",),
    ):
        for loc, node in document.each(*place):
            if node.value is None:
                yield document.problem(loc, "must be a mapping or false, not empty", at_key=True)


def _several_path_conditions(document: Document) -> Iterator[Problem]:
    for loc, node in document.each("routes", "*", "match"):
        kinds = [kind for kind in node.given if kind in _PATH_KINDS]
        if len(kinds) > 1:
            message = f"only one of {listed(_PATH_KINDS)} can be given, and {kinds[0]} is given already"
            yield document.problem((*loc, kinds[1]), message, at_key=True)


def _unreachable_routes(document: Document) -> Iterator[Problem]:
    earlier = EarlierRoutes[Node]()
    for loc, route in document.each("routes", "*"):
        match = route.child("match")
        try:
            condition = MatchConfig.model_validate({} if match is None else match.plain())
        except ValidationError:
            continue
        first = earlier.first_that_covers(condition)
        if first is not None:
            place = (*loc, "match") if match else loc
            message = f"can never match: {_title_of(first)} comes first and matches every request that this one matches"
            yield document.problem(place, message, at_key=True)
        if not any(route.child("redirect", key) is not None for key in ("scheme", "host")):
            earlier.add(condition, route)  # what is where those lead goes to the next route


def _title_of(route: Node) -> str:
    name = route.child("name")
    title = f'the route "{name.text}"' if name and name.text else "the route"
    return f"{title} in line {route.mark.line}"


def _state_in_redis(document: Document) -> Iterator[Problem]:
    """An error, not a warning: decisions would be kept nowhere, and `run` would not start."""
    node = document.root.child("state")
    if node is not None and (node.text or "").startswith("redis"):
        yield document.problem(("state",), "redis is not supported yet: write sqlite:PATH")


Rule = Callable[[Document], Iterator[Problem]]
RULES: tuple[Rule, ...] = (
    _unknown_backends,
    _unused_backends,
    _repeated_route_names,
    _former_names,
    _repeated_endpoints,
    _weights_of_nothing,
    _unused_tls,
    _state_in_redis,
    _overlapping_listeners,
    *LISTENER_RULES,
    *ADMIN_RULES,
    _masked_secrets,
    _everybody_trusted,
    _empty_sections,
    _several_path_conditions,
    _unreachable_routes,
    *ASSIGN_RULES,
    *PATH_RULES,
    *OWN_ANSWER_RULES,
    *REQUEST_RULES,
    *CACHE_RULES,
    *MIRROR_RULES,
    *ROLLOUT_RULES,
    *COMPARISON_RULES,
    *RETRAIN_RULES,
    *NOTIFY_RULES,
    *TRACES_RULES,
    *GOAL_RULES,
    *DRIFT_RULES,
)
