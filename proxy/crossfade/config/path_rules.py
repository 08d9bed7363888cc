"""Rules about the paths of routes and the policy for the spelling of paths together."""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.config.document import Document
from crossfade.config.problem import BadValue, Problem
from crossfade.config.section import flag
from crossfade.paths import KEEP, REFUSE_IF_AMBIGUOUS, SLASHES

_ENCODED = ("%2F", "%5C")


def _paths_that_no_request_has(document: Document) -> Iterator[Problem]:
    """Requests are matched with merged slashes, and with an encoded slash only if the policy keeps it."""
    merges, encoded = _merges(document), document.root.child("paths", "encoded_slashes")
    policy = REFUSE_IF_AMBIGUOUS if encoded is None else encoded.text
    for kind in ("path", "prefix"):
        for loc, node in document.each("routes", "*", "match", kind):
            path = node.text or ""
            if merges and "//" in path:
                merged = SLASHES.sub(b"/", path.encode()).decode()
                message = "can never match, since paths.merge_slashes is true"
                yield document.problem(loc, message, None if node.has_variables else merged)
            if policy != KEEP and any(part in path for part in _ENCODED):
                message = f"a slash or backslash that is encoded is matched only with paths: {{encoded_slashes: {KEEP}}}"
                yield document.problem(loc, message)


def _merges(document: Document) -> bool:
    node = document.root.child("paths", "merge_slashes")
    try:
        return node is None or flag(node.value)
    except BadValue:
        return False  # the model reports it


PATH_RULES = (_paths_that_no_request_has,)
