"""Rules about routes that the proxy answers itself, and about answers for other origins."""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.config.document import Document, Node
from crossfade.config.match import is_below
from crossfade.config.problem import Problem, Severity, listed

_WAYS = ("split", "redirect", "respond")
_ACTS = ("scheme", "host", "path", "prefix")
_OF_BACKENDS = (
    "sticky",
    "fallback",
    "mirror",
    "errors",
    "prediction",
    "feedback",
    "drift",
    "cache",
    "retry",
    "upgrades",
)
_OF_STATE = ("rollout", "renamed_from")
_MAKE_A_GET = ("301", "302", "303")
_WITH_CREDENTIALS = ("origins", "methods", "headers", "expose")


def _one_way_to_answer(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        given = [way for way in _WAYS if route.child(way) is not None]
        if not given and route.given:
            yield document.problem(loc, f"one of the keys {listed(_WAYS)} is missing", at_key=True)
        for other in given[1:]:
            message = f"only one of {listed(_WAYS)} can be given, and {given[0]} is given already"
            yield document.problem((*loc, other), message, at_key=True)
        if given and given[0] != "split":
            message = f"has no effect: the route has no backend, since the proxy answers by {given[0]}"
            for key in (*_OF_BACKENDS, *_OF_STATE):
                if (
                    route.child(key) is not None
                ):  # a warning: an edit for an hour need not delete the other keys
                    severity: Severity = "error" if key in _OF_STATE else "warning"
                    yield document.problem((*loc, key), message, at_key=True, severity=severity)


def _redirects_to_themselves(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        redirect = route.child("redirect")
        if redirect is None or redirect.text is not None:
            continue
        place = (*loc, "redirect")
        given = [key for key in _ACTS if redirect.child(key) is not None]
        if not given:
            message = f"must have one of the keys {listed(_ACTS)}, or it leads to itself"
            yield document.problem(place, message, at_key=True)
        if "path" in given and "prefix" in given:
            message = "only one of path or prefix can be given, and path is given already"
            yield document.problem((*place, "prefix"), message, at_key=True)
        elif "prefix" in given and route.child("match", "regex") is not None:
            message = "the route matches by regex, so there is no prefix to replace; use path"
            yield document.problem((*place, "prefix"), message, at_key=True)


def _redirects_back_to_their_route(document: Document) -> Iterator[Problem]:
    """A client would follow such a redirect until it gives up. Not so where an earlier route has the path that it leads to."""
    routes = list(document.each("routes", "*"))
    for number, (loc, route) in enumerate(routes):
        redirect = route.child("redirect")
        if redirect is None or redirect.child("scheme") is not None or redirect.child("host") is not None:
            continue
        status = redirect.child("status")
        if route.child("match", "methods") is not None and status is not None and status.text in _MAKE_A_GET:
            continue
        for key in ("path", "prefix"):
            target = (redirect.child(key) or redirect).text or ""
            if not target.startswith("/"):
                continue
            if _takes(route, target) and not any(_may_take(other, target) for _, other in routes[:number]):
                message = f"leads back to this route, which matches {target} too"
                yield document.problem((*loc, "redirect", key), message)


def _takes(route: Node, path: str) -> bool:
    """Whether the route's conditions on the path hold; no for an expression, which is not asked here."""
    exact, prefix = route.child("match", "path"), route.child("match", "prefix")
    if route.child("match", "regex") is not None:
        return False
    if exact is not None:
        return exact.text == path
    return prefix is None or is_below(path, prefix.text or "/")


def _may_take(route: Node, path: str) -> bool:
    return route.child("match", "regex") is not None or _takes(route, path)


def _fields_of_cors(document: Document) -> Iterator[Problem]:
    """A field that is there twice is none for a browser."""
    for loc, route in document.each("routes", "*"):
        if route.child("cors") is None:
            continue
        for place in (("response", "headers", "set"), ("respond", "headers")):
            fields = route.child(*place)
            for name in fields.entries if fields is not None else ():
                if name.lower().startswith("access-control-"):
                    message = "must not be set beside cors, which writes these fields"
                    yield document.problem((*loc, *place, name), message, at_key=True)


def _types_given_twice(document: Document) -> Iterator[Problem]:
    for loc, fields in document.each("routes", "*", "respond", "headers"):
        for name in fields.entries:
            if name.lower() == "content-type":
                message = "must be given by the key content_type of respond"
                yield document.problem((*loc, name), message, at_key=True)


def _bodies_that_are_never_sent(document: Document) -> Iterator[Problem]:
    for loc, node in document.each("routes", "*", "respond"):
        status = node.child("status")
        if status is not None and status.text in ("204", "205", "304") and node.child("body") is not None:
            yield document.problem(
                (*loc, "body"), f"an answer with status {status.text} has no body", at_key=True
            )


def _credentials_for_all(document: Document) -> Iterator[Problem]:
    """Browsers refuse it (Fetch standard, section 3.2.5), and who would reflect the origin instead opens the route to any page."""
    for loc, node in document.each("routes", "*", "cors"):
        credentials = node.child("credentials")
        if credentials is None or str(credentials.value).lower() != "true":
            continue
        for key in _WITH_CREDENTIALS:
            named = node.child(key)
            if named is not None and any(each.text == "*" for each in named.elements):
                message = "must not be * together with credentials: name each one"
                yield document.problem((*loc, key), message)


OWN_ANSWER_RULES = (
    _one_way_to_answer,
    _redirects_to_themselves,
    _redirects_back_to_their_route,
    _fields_of_cors,
    _types_given_twice,
    _bodies_that_are_never_sent,
    _credentials_for_all,
)
