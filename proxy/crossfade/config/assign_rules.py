"""Rules about `sticky: assign` together with the keys beside it.

Rule: as in `rules`: they read the document, and skip values that are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.config.document import Document
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


ASSIGN_RULES = (_keys_behind_it, _what_browsers_refuse)
