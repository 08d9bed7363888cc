"""Rules about the admin API. They read the document, as those of `rules` do."""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.config import address
from crossfade.config.address import ListenConfig
from crossfade.config.admin import LONG_ENOUGH
from crossfade.config.document import Document, Node
from crossfade.config.problem import BadValue, Problem


def _repeated_names(document: Document) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for loc, node in document.each("admin", "tokens", "*", "name"):
        if node.text in first:
            yield document.problem(
                loc, f'the token in line {first[node.text]} has the name "{node.text}" too'
            )
        elif node.text is not None:
            first[node.text] = node.mark.line


def _repeated_tokens(document: Document) -> Iterator[Problem]:
    """As they are written: what variables stand for is compared where the tokens are used, and a client is not told of it."""
    first: dict[str, Node] = {}
    for place in (("admin", "token"), ("admin", "tokens", "*", "token")):
        for loc, node in document.each(*place):
            written = f"{node.text}" if node.text else ""
            if written in first:
                line = first[written].mark.line
                yield document.problem(loc, f"must be another token than the one in line {line}")
            elif written:
                first[written] = node


def _short_token(document: Document) -> Iterator[Problem]:
    for loc, node in document.each("admin", "token"):
        if node.text and not node.has_variables and len(node.text) < LONG_ENOUGH:
            message = f"is shorter than {LONG_ENOUGH} characters, so it can be guessed; make one with openssl rand -hex 32"
            yield document.problem(loc, message, severity="warning")


def _listener(node: Node) -> ListenConfig | None:
    """None for a bad one, which has its own problem."""
    try:
        return address.listen_here(node.value)
    except BadValue:
        return None


def _tls_of_a_socket(document: Document) -> Iterator[Problem]:
    for _, node in document.each("admin", "listen"):
        listener, tls = _listener(node), document.root.child("admin", "tls")
        if listener is not None and listener.path and tls is not None and tls.given:
            yield document.problem(("admin", "tls"), "must not be given for a unix socket", at_key=True)


def _without_token(document: Document) -> Iterator[Problem]:
    for loc, node in document.each("admin", "listen"):
        listener = _listener(node)
        token, tokens = (document.root.child("admin", key) for key in ("token", "tokens"))
        if (
            listener is None
            or listener.is_loopback
            or (token and token.value != "")
            or (tokens and tokens.elements)
        ):
            continue
        place = ("admin", "token") if token else ("admin", "tokens") if tokens else loc
        yield document.problem(place, "a token is required, since admin.listen is not a loopback address")


ADMIN_RULES = (_repeated_names, _repeated_tokens, _short_token, _tls_of_a_socket, _without_token)
