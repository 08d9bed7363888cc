"""What is no Markup is text: whatever an answer says, it makes no element, no attribute and no invisible character."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.report.markup import Markup, document, tag, text_of


@given(st.text(), st.text())
def test_any_text_is_read_back_as_text_of_one_element(text, title):
    written = tag("p", text, title=title)
    element = ElementTree.fromstring(
        written.replace("\ufffe", "?").replace("\uffff", "?")
    )  # which XML has not
    assert len(element) == 0
    assert set(element.attrib) == {"title"}


@pytest.mark.parametrize(
    "text",
    [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "]]>",
        "&lt;b&gt;",
        "<!--",
        '"><b>',
    ],
)
def test_hostile_text_is_escaped(text):
    assert ElementTree.fromstring(tag("td", text)).text == text
    assert ElementTree.fromstring(tag("td", title=text)).attrib == {"title": text}


def test_characters_that_are_not_seen_are_shown_by_their_code():
    assert text_of("a\u202eb\x00c\ud800\n\td") == "a&lt;U+202E&gt;b&lt;U+0000&gt;c&lt;U+D800&gt;\n\td"


def test_children_may_be_nested_and_markup_stays():
    inner = tag("b", "x")
    assert isinstance(inner, Markup)
    assert tag("p", ["a", [inner, "<"]], class_="c", stroke_width=1.50, href=None) == (
        '<p class="c" stroke-width="1.5">a<b>x</b>&lt;</p>'
    )


def test_a_document_is_well_formed_and_loads_nothing():
    text = document("a < b", "p > b { color: red }", tag("p", "x"))
    head = ElementTree.fromstring(text.removeprefix("<!doctype html>"))[0]
    assert [meta.get("content") for meta in head if meta.get("http-equiv") == "Content-Security-Policy"] == [
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    ]
