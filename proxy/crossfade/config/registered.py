"""Versions that a registry has named, written into the configuration: `challenger: {registry: churn@challenger}` becomes a backend.

Rule: the rest of the format knows backends by name only. A challenger that the registry has not named yet is no rollout. Where
a registered version was promoted, it is the champion in the place of the one that the file names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import msgspec

from crossfade.config.document import Document, Entry, Mark, Node, Plain
from crossfade.config.problem import BadValue, Problem
from crossfade.config.registry import registered_alias

_OWN_KEYS = ("endpoints", "version", "registry")  # of a backend, that another version does not share


class RegisteredBackend(msgspec.Struct, frozen=True):
    """`name`: as a backend. `registry`: as `model/version`. `endpoint`: its URL. `of_file`: the file has this backend itself."""

    name: str
    registry: str
    endpoint: str
    of_file: bool = False


class RegisteredOfRoute(msgspec.Struct, frozen=True):
    """`champion`: if one that the registry named was promoted."""

    champion: RegisteredBackend | None = None
    challenger: RegisteredBackend | None = None


Registered = Mapping[str, RegisteredOfRoute]  # by route
NOTHING: Registered = {}


def references(document: Document) -> dict[str, str]:
    """By route, the `model@alias` of its challenger."""
    found = {}
    for _, route in document.each("routes", "*"):
        name = route.child("name")
        for _, rollout in _rollouts(route):
            reference = _reference(rollout)
            if name is not None and name.text is not None and reference is not None:
                found[f"{name.text!s}"] = reference
    return found


def _rollouts(route: Node) -> Iterator[tuple[int, Node]]:
    rollouts = route.child("rollout")
    yield from enumerate(rollouts.elements if rollouts else ())


def _reference(rollout: Node) -> str | None:
    """None if the challenger is a backend of the file, or not valid."""
    node = rollout.child("challenger", "registry")
    challenger = rollout.child("challenger")
    if node is None or challenger is None or len(challenger.entries) != 1:
        return None
    try:
        return registered_alias(node.text)
    except BadValue:
        return None


def with_registered(document: Document, registered: Registered) -> Document:
    """The document as if the versions were written in it."""
    routes = document.root.child("routes")
    if routes is None or not references(document):
        return document
    added: dict[str, Entry] = {}
    elements = [_route(route, registered, document, added) for route in routes.elements]
    root = _with(document.root, "routes", replace(routes, value=elements))
    backends = root.child("backends")
    if backends is not None and added:
        root = _with(root, "backends", replace(backends, value={**backends.entries, **added}))
    return replace(document, root=root)


def _route(route: Node, registered: Registered, document: Document, added: dict[str, Entry]) -> Node:
    rollouts = [rollout for _, rollout in _rollouts(route)]
    name = route.child("name")
    if name is None or not any(_reference(rollout) for rollout in rollouts):
        return route
    known = registered.get(f"{name.text!s}", RegisteredOfRoute())
    first = rollouts[0].child("champion")
    before = None if first is None else first.text
    for version in (known.champion, known.challenger):
        if version is not None:
            _add(version, before, document, added)
    if known.champion is not None and before is not None:
        route = _with_champion(route, before, known.champion.name)
    kept = [found for _, rollout in _rollouts(route) if (found := _rollout(rollout, known.challenger))]
    if not kept:
        return replace(route, value={key: entry for key, entry in route.entries.items() if key != "rollout"})
    place = route.entries["rollout"].node
    return _with(route, "rollout", replace(place, value=kept))


def _rollout(rollout: Node, challenger: RegisteredBackend | None) -> Node | None:
    if _reference(rollout) is None:
        return rollout
    if challenger is None:
        return None
    return _with(rollout, "challenger", _scalar(challenger.name, rollout.entries["challenger"].node.mark))


def _with_champion(route: Node, before: str, champion: str) -> Node:
    """In the split and in the rollouts."""
    split = route.child("split")
    if split is not None and split.entries and champion not in split.entries:
        entries = dict[str, Entry]()
        for key, entry in split.entries.items():
            if key == before:
                entries[champion] = entry._replace(written=champion)
            else:
                entries[key] = entry
        route = _with(route, "split", replace(split, value=entries))
    rollouts = []
    for _, rollout in _rollouts(route):
        place = rollout.child("champion")
        if place is not None and place.text == before:
            rollout = _with(rollout, "champion", _scalar(champion, place.mark))
        rollouts.append(rollout)
    return _with(route, "rollout", replace(route.entries["rollout"].node, value=rollouts))


def _add(version: RegisteredBackend, like: str | None, document: Document, added: dict[str, Entry]) -> None:
    """A backend as the champion of the file, but for its endpoint and version; none if the file has one of this name."""
    backends = document.root.child("backends")
    model = None if backends is None else backends.entries.get(like or "")
    if backends is None or model is None or version.name in backends.entries:
        return
    mark = model.node.mark
    shared = {key: entry for key, entry in model.node.entries.items() if key not in _OWN_KEYS}
    own = {
        key: Entry(mark, _scalar(value, mark), key)
        for key, value in (("endpoints", version.endpoint), ("registry", version.registry))
    }
    added[version.name] = Entry(mark, replace(model.node, value={**own, **shared}), version.name)


def _scalar(value: str, mark: Mark) -> Node:
    return Node(mark, Plain(value))


def _with(node: Node, key: str, value: Node) -> Node:
    entry = node.entries[key]
    return replace(node, value={**node.entries, key: entry._replace(node=value)})


def registry_problems(document: Document) -> Iterator[Problem]:
    """What refers to a registry needs one. Of the document as it was written."""
    kind, uri = document.root.child("registry", "kind"), document.root.child("registry", "uri")
    if kind is not None and kind.text == "mlflow" and uri is not None and "://" not in (uri.text or ""):
        yield document.problem(("registry", "uri"), "must be the URL of an MLflow server")
    has_registry = document.root.child("registry") is not None
    for loc, node in document.each("backends", "**", "registry"):
        if not has_registry and node.text is not None:
            yield document.problem(loc, 'needs the key "registry" of the file')
    for loc, rollout in document.each("routes", "*", "rollout", "*"):
        challenger = rollout.child("challenger")
        if challenger is None or not challenger.entries:
            continue
        place = (*loc, "challenger")
        if _reference(rollout) is None:
            yield document.problem(place, "must be the name of a backend, or {registry: MODEL@ALIAS}")
        elif not has_registry:
            yield document.problem(place, 'needs the key "registry" of the file')
    yield from _several(document)


def _several(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        found = [n for n, rollout in _rollouts(route) if _reference(rollout) is not None]
        if found and len(list(_rollouts(route))) > 1:
            message = "must be the only rollout of its route, since its challenger comes from the registry"
            yield document.problem((*loc, "rollout", found[0]), message)
