"""The tree that knows where everything stands."""

from __future__ import annotations

import pytest

from crossfade.config.document import Loc, Mark, path_text
from crossfade.config.reader import read

TEXT = """\
routes:
  - name: a
    split: {v2: 1}
  - name: b
    match:
backends:
  "v 2": {endpoints: [x, y]}
  v3: {endpoints: z}
"""
DOCUMENT = read(TEXT, "f.yaml", {})


@pytest.mark.parametrize(
    ("loc", "key", "value", "path"),
    [
        ((), (1, 1), (1, 1), ""),
        (("routes",), (1, 1), (2, 3), "routes"),
        (("routes", 1), (4, 5), (4, 5), "routes[1]"),
        (("routes", 0, "split", "v2"), (3, 13), (3, 17), "routes[0].split.v2"),
        (("backends", "v 2", "endpoints", 1), (7, 26), (7, 26), 'backends["v 2"].endpoints[1]'),
        (("routes", 0, "nothing", "below"), (2, 5), (2, 5), "routes[0]"),  # as near as the file comes
        (("backends", "v3", "endpoints", 0), (8, 8), (8, 19), "backends.v3.endpoints"),  # a list of one
    ],
)
def test_a_location_has_a_place(loc: Loc, key: tuple[int, int], value: tuple[int, int], path: str):
    place = DOCUMENT.locate(loc)
    assert (place.key, place.value, path_text(place.path)) == (Mark(*key), Mark(*value), path)


def test_a_problem_stands_at_the_value_or_at_its_key():
    at_value = DOCUMENT.problem(("routes", 0, "split"), "is wrong", "v3")
    assert str(at_value) == 'f.yaml:3:12: routes[0].split: is wrong; did you mean "v3"?'
    at_key = DOCUMENT.problem(("routes", 0, "split"), "is odd", at_key=True, severity="warning")
    assert str(at_key) == "f.yaml:3:5: warning: routes[0].split: is odd"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (("routes", "*", "name"), [("routes", 0, "name"), ("routes", 1, "name")]),
        (("backends", "**"), [("backends", "v 2"), ("backends", "v3")]),
        (("backends", "**", "endpoints", "*"), [
            ("backends", "v 2", "endpoints", 0), ("backends", "v 2", "endpoints", 1), ("backends", "v3", "endpoints", 0),
        ]),
        (("routes", "*", "match", "*"), []),
        (("nothing", "*"), []),
    ],
)  # fmt: skip
def test_each_place_of_a_pattern_is_found(pattern: tuple[str, ...], found: list[Loc]):
    assert [loc for loc, _ in DOCUMENT.each(*pattern)] == found


def test_a_node_tells_its_shape():
    root = DOCUMENT.root
    route, other = root.child("routes").elements  # type: ignore[union-attr]  # it is there
    assert (route.given, other.given) == (["name", "split"], ["name"]), "a null is as good as nothing"
    assert (route.text, route.entries["name"].node.text, route.entries["name"].node.entries) == (
        None,
        "a",
        {},
    )
    assert root.child("routes", "name") is None
    assert root.child("backends", "v3", "endpoints") is root.entries["backends"].node.child("v3", "endpoints")
