"""A configuration as it may be shown: its text with the secrets as `***`.

Rule: a secret is what a field of the type `SECRET` holds, and the user name, password and query of each URL. A
variable without a default is shown as it was written, since its name is no secret; so is the scheme of credentials
in front of it, as in `Bearer ${KEY}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from crossfade.config.document import Document, Node
from crossfade.config.environment import literals_of
from crossfade.config.model import Config
from crossfade.config.problem import without_credentials
from crossfade.config.section import SECRET

MASK = "***"
_SCHEMES = re.compile(r"\s*(?:bearer|basic|token|api-?key)?\s*", re.IGNORECASE)  # of an Authorization field
_SHORTEST = 8  # characters; a shorter one would mask words
_QUERY = re.compile(r"[?#].*[^\"']", re.DOTALL)

Place = tuple[str, ...]


@cache
def secret_places() -> frozenset[Place]:
    """The places of all secrets in the format, as `Document.each` takes them."""
    return frozenset(_places_in(Config, ()))


def _places_in(kind: Any, place: Place) -> Iterator[Place]:
    if isinstance(kind, FieldInfo):
        if SECRET in kind.metadata:
            yield place
        else:
            yield from _places_in(kind.annotation, place)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield from _places_in(field, (*place, field.alias or name))
    elif get_origin(kind) is Annotated and SECRET in get_args(kind):
        yield place
    elif get_origin(kind) in (Annotated, Union, UnionType):
        for each in get_args(kind):
            yield from _places_in(each, place)
    elif get_origin(kind) in (tuple, list):
        yield from _places_in(get_args(kind)[0], (*place, "*"))
    elif get_origin(kind) is dict:
        yield from _places_in(get_args(kind)[1], (*place, "**"))


def masked(text: str, document: Document) -> str:
    """The text of the document as it may be shown."""
    shown, end = [], 0
    for (begin, after), mask in sorted(_masks_in(text, document).items()):
        shown += [text[end:begin], mask]
        end = after
    return without_credentials("".join((*shown, text[end:])))  # in comments too


def secret_values(document: Document) -> frozenset[str]:
    """What no log may hold: the values of secret fields, with their variables replaced, and the paths of secret URLs."""
    found = set[str]()
    for place in secret_places():
        for _, node in document.each(*place):
            for scalar in node.scalars():
                value = f"{scalar.value!s}"
                found |= {value, _SCHEMES.sub("", value, count=1), *_parts_of(value)}
    return frozenset(value for value in found if len(value) >= _SHORTEST)


def _parts_of(url: str) -> Iterator[str]:
    """Path and query of a URL, by which an error may name it, and its password."""
    _, separator, rest = url.partition("://")
    if separator:
        login, _, place = rest.rpartition("@")
        yield place[len(place.partition("/")[0]) :]
        yield login.partition(":")[2]


def _masks_in(text: str, document: Document) -> dict[tuple[int, int], str]:
    """By the span in the text, what is shown in its place."""
    masks = {}
    for node in document.root.scalars():
        written = text[slice(*node.span)]
        if "://" in written:
            masks[node.span] = _QUERY.sub(f"?{MASK}", _without_login(written))
    for place in secret_places():
        for _, node in document.each(*place):
            masks |= {scalar.span: f'"{MASK}"' for scalar in node.scalars() if _is_literal(scalar)}
    return masks


def _without_login(url: str) -> str:
    """Up to the last @: a password may hold one. No expression, whose time could grow with the square of the length."""
    scheme, separator, rest = url.partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{MASK}@{host}" if at else url


def _is_literal(node: Node) -> bool:
    """Whether more is written than the names of variables, and the scheme in front of one."""
    written = f"{node.value}"
    literals = literals_of(written)
    return bool(literals) and not (literals != written and _SCHEMES.fullmatch(literals))
