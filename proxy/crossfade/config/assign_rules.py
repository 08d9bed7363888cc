"""Rules about `sticky: assign` together with the keys beside it.

Rule: as in `rules`: they read the document, and skip values that are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.config.document import Document
from crossfade.config.match import is_below
from crossfade.config.problem import Problem


def _keys_behind_it(document: Document) -> Iterator[Problem]:
    """Each request has an assigned id, so no later key is ever read."""
    for loc, sticky in document.each("routes", "*", "sticky"):
        elements = sticky.elements
        for place, element in enumerate(elements[:-1]):
            if element.child("assign") is not None:
                yield document.problem(
                    (*loc, place, "assign"),
                    "must be the last key: no key behind it is ever read",
                    at_key=True,
                )


def _cookies_of_two_keys(document: Document) -> Iterator[Problem]:
    """The plain key would win over the id: by the whole value, which anybody can choose and which changes when it is renewed."""
    for loc, sticky in document.each("routes", "*", "sticky"):
        assigned = sticky.elements[-1].child("assign", "cookie") if sticky.elements else None
        for place, element in enumerate(sticky.elements[:-1]):
            cookie = element.child("cookie")
            if cookie is not None and assigned is not None and cookie.text == assigned.text:
                message = "must not be the cookie of assign, which is read there; leave this key out"
                yield document.problem((*loc, place, "cookie"), message)


def _cookies_that_never_come_back(document: Document) -> Iterator[Problem]:
    """RFC 6265 section 5.1.4: a client without its cookie has a new id with each request."""
    for loc, route in document.each("routes", "*"):
        sticky = route.child("sticky")
        matched = route.child("match", "path") or route.child("match", "prefix")
        asked = "" if matched is None else matched.text or ""
        for place, element in enumerate(sticky.elements if sticky is not None and asked else ()):
            path = element.child("assign", "path")
            if path is not None and not is_below(asked, path.text or "/"):
                message = f"browsers do not send this cookie to {asked}, so each request there has a new id"
                where = (*loc, "sticky", place, "assign", "path")
                yield document.problem(where, message, severity="warning")


def _what_browsers_refuse(document: Document) -> Iterator[Problem]:
    """RFC 6265bis sections 4.1.3 and 5.7: browsers drop such cookies, and each request would have a new id."""
    for loc, node in document.each("routes", "*", "sticky", "*", "assign"):
        given = {key: (node.child(key) or node).text for key in ("cookie", "secure", "same_site", "path")}
        cookie, secure = (given["cookie"] or "").lower(), given["secure"]
        if cookie.startswith(("__host-", "__secure-")) and secure != "true":
            yield document.problem((*loc, "cookie"), "browsers take this name only with secure: true")
        if cookie.startswith("__host-"):
            if node.child("domain") is not None:
                yield document.problem(
                    (*loc, "domain"), "browsers take a __Host- cookie only without a domain"
                )
            if given["path"] not in (None, "/"):
                yield document.problem(
                    (*loc, "path"), "browsers take a __Host- cookie only with the path /", "/"
                )
        if given["same_site"] == "none" and secure == "false":
            yield document.problem(
                (*loc, "same_site"), "browsers take same_site: none only with secure: true"
            )


ASSIGN_RULES = (_keys_behind_it, _cookies_of_two_keys, _cookies_that_never_come_back, _what_browsers_refuse)
