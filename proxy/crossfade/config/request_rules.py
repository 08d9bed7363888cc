"""Rules about the rewriting of requests: a backend's keys together with the routes that send to it.

Rule: as in `rules`: they read the document, and skip values that are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.config.document import Document, Loc, Node
from crossfade.config.problem import Problem, listed, nearest
from crossfade.config.request import GROUP
from crossfade.config.trusted_headers import TRUSTED_HEADERS
from crossfade.regex import BadExpression, compiled

_PATH_CHANGES = ("prefix", "replace", "regex")
_PLACES = (("backends", "**", "request"), ("routes", "*", "mirror", "*"))  # where requests are rewritten
_NO_PREFIX = "matches by regex, so there is no prefix to replace; use replace or regex"
_HOST_WORDS = ("preserve", "endpoint")
_MOST = 3  # routes that one message names
_HEADERS_READ = (
    ("sticky", "*", "header"),
    ("limits", "rate", "key", "header"),
    ("prediction", "segment", "*", "header"),
)


def _several_path_changes(document: Document) -> Iterator[Problem]:
    for loc, node in _each(document, "path"):
        kinds = [kind for kind in node.given if kind in _PATH_CHANGES]
        if len(kinds) > 1:
            message = f"only one of {listed(_PATH_CHANGES)} can be given, and {kinds[0]} is given already"
            yield document.problem((*loc, kinds[1]), message, at_key=True)
        elif not node.given:
            yield document.problem(loc, f"must have the key {listed(_PATH_CHANGES)}", at_key=True)


def _prefix_of_nothing(document: Document) -> Iterator[Problem]:
    """A route with a regular expression has matched the whole path, and no prefix of it."""
    by_regex: dict[str, list[str]] = {}
    for _, route in document.each("routes", "*"):
        if route.child("match", "regex") is not None:
            for backend in _backends_of(route):
                name = route.child("name")
                by_regex.setdefault(backend, []).append((name.text if name else None) or "without a name")
    for loc, _ in document.each("backends", "**", "request", "path", "prefix"):
        routes = by_regex.get(f"{loc[1]}")
        if routes:
            yield document.problem(loc, f"the route {listed(routes[:_MOST])} {_NO_PREFIX}", at_key=True)
    for at, route in document.each("routes", "*"):
        for index, mirror in enumerate(_elements(route, "mirror")):
            if mirror.child("path", "prefix") is not None and route.child("match", "regex") is not None:
                place = (*at, "mirror", index, "path", "prefix")
                yield document.problem(place, f"the route {_NO_PREFIX}", at_key=True)


def _groups_of_the_pattern(document: Document) -> Iterator[Problem]:
    for loc, node in _each(document, "path", "regex"):
        pattern, substitution = node.child("pattern"), node.child("substitution")
        if pattern is None or substitution is None:
            continue
        try:
            groups = compiled(pattern.text or "", captures=True).groups
        except BadExpression:
            continue
        named = max((int(found) for found in GROUP.findall(substitution.text or "")), default=0)
        if named > groups:
            message = f"names the group \\{named}, and the pattern has {groups}"
            yield document.problem((*loc, "substitution"), message)


def _fields_within_fields(document: Document) -> Iterator[Problem]:
    for loc, node in _each(document, "json"):
        for path in node.entries:
            outer = next((other for other in node.entries if path.startswith(f"{other}.")), None)
            if outer is not None:
                message = f"{path} is within {outer}, which is replaced too"
                yield document.problem((*loc, path), message, at_key=True)


def _each(document: Document, *keys: str) -> Iterator[tuple[Loc, Node]]:
    """What is below these keys, wherever requests are rewritten."""
    for place in _PLACES:
        yield from document.each(*place, *keys)


def _elements(route: Node, key: str) -> list[Node]:
    found = route.child(key)
    return found.elements if found else []


def _backends_of(route: Node) -> set[str]:
    """The backends that get requests of this route with the path that their `request` says."""
    split = route.child("split")
    names = set(split.entries) if split is not None else set()
    nodes = [route.child("fallback")]
    nodes += [each.child("to") for each in _elements(route, "mirror") if each.child("path") is None]
    nodes += [each.child("challenger") for each in _elements(route, "rollout")]
    return names | {node.text for node in nodes if node is not None and node.text is not None}


def _fields_of_nobody(document: Document) -> Iterator[Problem]:
    """A field that only trusted proxies may send, where there are none, is never there."""
    trusted, named = document.root.child("trusted_proxies"), document.root.child("trusted_headers")
    if trusted is not None and trusted.elements:
        return
    names = TRUSTED_HEADERS if named is None else [f"{each.text}".lower() for each in named.elements]
    for loc, name in _fields_read(document):
        if name.lower() in names:
            message = f"{name} is removed from all requests, since no proxy in trusted_proxies may send it (see trusted_headers)"
            yield document.problem(loc, message, severity="warning")


def _fields_read(document: Document) -> Iterator[tuple[Loc, str]]:
    for loc, node in document.each("routes", "*", "match", "headers"):
        yield from (((*loc, name), name) for name in node.entries)
    for place in _HEADERS_READ:
        for loc, node in document.each("routes", "*", *place):
            if node.text is not None:
                yield loc, node.text


def _words_taken_for_hosts(document: Document) -> Iterator[Problem]:
    """Every word is a host too."""
    for loc, node in document.each("backends", "**", "request", "host"):
        host = node.text or ""
        similar = nearest(host, _HOST_WORDS)
        if similar is not None and host not in _HOST_WORDS:
            yield document.problem(loc, "is taken for the name of a host", similar, severity="warning")


REQUEST_RULES = (
    _several_path_changes,
    _prefix_of_nothing,
    _groups_of_the_pattern,
    _fields_within_fields,
    _fields_of_nobody,
    _words_taken_for_hosts,
)
