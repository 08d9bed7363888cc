"""Listeners with and without TLS of their own: what is read, and what is refused with its place."""

from __future__ import annotations

import pytest

from crossfade.config.load import Loaded, load, tls_sections
from crossfade.config.problem import ConfigError

REST = """
backends: {v2: {endpoints: http://b}}
routes: [{name: r, split: {v2: 1}}]
"""


def loaded(top: str) -> Loaded:
    return load(top + REST, "f.yaml", {})


def test_a_listener_has_its_own_tls_or_that_of_the_file_or_none() -> None:
    config = loaded("""\
listen:
  - :80
  - {address: ":81", tls: {cert: own.pem, key: own.key}}
  - {address: ":82", tls: false}
  - {address: ":83"}
tls: {certificates: [{cert: a.pem, key: a.key}, {cert: b.pem, key: b.key}], client_ca: clients.pem}
""").config
    pairs = [(at.authority, tls and tls.pairs) for at, tls in config.listeners]
    common = (("a.pem", "a.key"), ("b.pem", "b.key"))
    assert pairs == [
        ("0.0.0.0:80", common),
        ("0.0.0.0:81", (("own.pem", "own.key"),)),
        ("0.0.0.0:82", None),
        ("0.0.0.0:83", common),
    ]


def test_one_listener_needs_no_list() -> None:
    config = loaded("listen: {address: ':81', tls: {certificates: {cert: a, key: b}}}").config
    assert [(at.port, tls and tls.pairs) for at, tls in config.listeners] == [(81, (("a", "b"),))]


def test_all_files_are_examined_and_watched_each_with_its_place() -> None:
    found = loaded("""\
listen: [{address: ":81", tls: {certificates: [{cert: a, key: b}, {cert: c, key: d}], client_ca: e}}]
tls: {cert: f, key: g}
""")
    assert found.tls_files == set("abcdefg")
    places = [section.place_of("key") for section in tls_sections(found.config)]
    assert places == [
        ("tls", "key"),
        ("listen", 0, "tls", "certificates", 0, "key"),
        ("listen", 0, "tls", "certificates", 1, "key"),
        ("listen", 0, "tls", "key"),
    ]


@pytest.mark.parametrize(
    ("top", "message"),
    [
        (
            "listen: [':80', {address: ':80'}]",
            "f.yaml:1:27: listen[1].address: 0.0.0.0:80 overlaps with the listener 0.0.0.0:80",
        ),
        (
            "listen: [{address: ':81', tls: {key: k}}]",
            'f.yaml:1:27: listen[0].tls: the key "cert" is missing',
        ),
        (
            "tls: {}",
            'f.yaml:1:1: tls: the keys "cert" and "key" are missing',
        ),
        (
            "listen: {address: ':81', tls: {}}",
            'f.yaml:1:26: listen.tls: the keys "cert" and "key" are missing',
        ),
        (
            "listen: [{address: 81}]",
            'f.yaml:1:20: listen[0].address: must be host:port, not "81"; did you mean ":81"?',
        ),
        (
            "listen: [{adress: ':81'}]",
            'f.yaml:1:11: listen[0].adress: unknown key "adress"; did you mean "address"?',
        ),
        ("listen: [{address: ':81', tls: true}]", "f.yaml:1:32: listen[0].tls: must be a mapping"),
        ("listen: [[]]", "f.yaml:1:10: listen[0]: must be host:port"),
    ],
)
def test_an_error_has_its_place(top: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(top)
    assert message in "\n".join(map(str, caught.value.problems))
