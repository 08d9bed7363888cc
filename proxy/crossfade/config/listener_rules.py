"""Rules about listeners and their TLS. They read the document, as those of `rules` do."""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.config.document import Document, Loc, Node
from crossfade.config.problem import Problem


def _certificates(document: Document) -> Iterator[Problem]:
    """One certificate is given by `cert` and `key`, several by `certificates`."""
    for loc, node in _tls_sections(document):
        given = node.entries
        if "certificates" in given:
            for key in ("cert", "key"):
                if key in given:
                    yield document.problem(
                        (*loc, key), 'must not be given beside "certificates"', at_key=True
                    )
            if not given["certificates"].node.elements and not given["certificates"].node.entries:
                yield document.problem((*loc, "certificates"), "must not be empty")
        else:
            missing = [f'"{key}"' for key in ("cert", "key") if key not in given]
            if missing:
                keys = "key" if len(missing) == 1 else "keys"
                verb = "is" if len(missing) == 1 else "are"
                message = f"the {keys} {' and '.join(missing)} {verb} missing"
                yield document.problem(loc, message, at_key=True)


def _tls_sections(document: Document) -> Iterator[tuple[Loc, Node]]:
    for place in (("tls",), ("listen", "*", "tls"), ("admin", "tls")):
        for loc, node in document.each(*place):
            if isinstance(node.value, dict):
                yield loc, node


LISTENER_RULES = (_certificates,)
