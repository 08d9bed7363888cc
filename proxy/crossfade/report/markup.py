"""HTML and SVG from values. Rule: what is no Markup is text, and is escaped, since answers of models are hostile input.

Characters that no one sees, or that turn the direction of text, are shown as their code.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

_HIDDEN: Final = {
    code: f"<U+{code:04X}>"
    for codes in (
        range(0x20),
        range(0x7F, 0xA0),
        range(0x200B, 0x2010),
        range(0x2028, 0x202F),
        range(0x2060, 0x2070),
    )
    for code in codes
    if code not in (0x09, 0x0A)
} | {0xFEFF: "<U+FEFF>", **{code: f"<U+{code:04X}>" for code in range(0xD800, 0xE000)}}
_EMPTY: Final = frozenset({"meta", "br", "line", "rect", "circle", "path", "polyline", "polygon", "col"})

Child = str | Iterable["Child"]


class Markup(str):
    """HTML that is written as it is. Only this module makes it."""

    __slots__ = ()


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """`class_` is class, `stroke_width` is stroke-width; an attribute that is None is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY and not children:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{text_of(children)}</{name}>")


def text_of(children: Child) -> Markup:
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(escape(children.translate(_HIDDEN)))
    return Markup("".join(map(text_of, children)))


def _attribute(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(str(value).translate(_HIDDEN))


def document(title: str, style: str, body: Child) -> str:
    """A page that loads nothing and runs nothing, whatever is in it."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', body), lang='en')}\n"
