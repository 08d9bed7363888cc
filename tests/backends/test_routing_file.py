"""An edit of a routing file changes what is meant and nothing else, in any spelling of the file; or it changes nothing and says so."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crossfade_backends.routing_edits import (
    urls_of,
    with_backend,
    with_endpoints,
    with_rollout,
    with_split,
    without_backend,
    without_rollouts,
)
from crossfade_backends.routing_file import EditError, cut, flow, put, values

EXAMPLES = sorted((Path(__file__).parents[2] / "config" / "examples").glob("*.yaml"))
SHARED = "experiment"  # its second route refers to the rollout of the first
A, B, C = "http://127.0.0.1:8001", "http://127.0.0.1:8002", "http://127.0.0.1:8003"

words = st.text("abc:#-{}[],&*!|>'\"%@` 1.é", min_size=1, max_size=6)
names = st.text("abcdefg", min_size=1, max_size=3)
documents = st.recursive(
    words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
mappings = st.dictionaries(names, documents, min_size=1, max_size=4)


def written(document, is_flow: bool) -> str:
    return yaml.safe_dump(
        document, default_flow_style=is_flow, allow_unicode=True, sort_keys=False, width=10_000
    )


def edited(text: str, *edits) -> str:
    for edit in edits:
        text = edit(text)
    return text


def paths(document, prefix=()) -> list[tuple[str | int, ...]]:
    found: list[tuple[str | int, ...]] = []
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            found += [(*prefix, key), *paths(value, (*prefix, key))]
    return found


@given(mappings, st.booleans(), documents, st.data())
def test_a_value_is_put_at_any_place(document, is_flow, value, data):
    keys = data.draw(st.sampled_from([*paths(document), ("new",)]))
    text = f"# a comment\n{written(document, is_flow)}# the end\n"
    meant = copy.deepcopy(document)
    inner = meant
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    try:
        after = put(text, keys, value)
    except EditError as error:
        assert "write by hand" in str(error)
        return
    assert values(after) == meant
    assert after.startswith("# a comment\n") and "# the end" in after


@given(mappings, st.booleans(), st.data())
def test_what_is_cut_is_gone_and_the_rest_stays(document, is_flow, data):
    keys = data.draw(st.sampled_from(paths(document)))
    meant = copy.deepcopy(document)
    inner = meant
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    try:
        after = cut(written(document, is_flow), keys)
    except EditError as error:
        assert "by hand" in str(error) or "is the last of" in str(error)
        return
    assert values(after) == meant


@given(documents)
def test_flow_is_read_as_what_it_was(value):
    assert values(f"a: {flow(value)}\n") == {"a": value}


def test_what_another_part_of_the_file_refers_to_stays():
    text = next(path for path in EXAMPLES if path.stem == SHARED).read_text()
    with pytest.raises(EditError, match=r"write by hand: no routes\.0\.rollout"):
        cut(text, ["routes", 0, "rollout"])


@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if path.stem != SHARED], ids=lambda path: path.stem
)
def test_the_words_of_an_operator_stay(path: Path):
    text = path.read_text()
    backend = next(iter(values(text)["backends"]))
    route = values(text)["routes"][0]["name"]
    after = edited(
        text,
        lambda text: with_backend(text, "churn-v9", [A, B], "churn/v9"),
        lambda text: with_endpoints(text, backend, [C], ()),
        lambda text: with_rollout(
            text, route, {"strategy": "canary", "champion": backend, "challenger": "churn-v9"}, {backend: 1.0}
        ),
    )
    assert urls_of(after, "churn-v9") == [A, B] and urls_of(after, backend)[-1] == C
    assert values(after)["routes"][0]["split"] == {backend: "100%"}
    back = edited(
        after,
        lambda text: without_rollouts(text, route, "churn-v9"),
        lambda text: with_split(text, route, {backend: 1.0, "churn-v9": 0.0}),
        lambda text: without_backend(text, "churn-v9", [A, B, "http://other"]),
        lambda text: with_endpoints(text, backend, (), [C]),
    )
    assert [line for line in back.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith("#")
    ]
    before = values(text)
    before["routes"][0]["split"] = {backend: "100%"}
    before["routes"][0].pop("rollout", None)
    before["backends"][backend]["endpoints"] = values(back)["backends"][backend]["endpoints"]
    assert values(back) == before


def test_endpoints_of_others_stay_as_they_are():
    text = f"backends:\n  m: {{endpoints: [{{url: {A}, weight: 4}}, {B}]}}  # mine\n"
    after = with_endpoints(text, "m", [C], [B])
    assert after == f"backends:\n  m: {{endpoints: [{{url: {A}, weight: 4}}, {C}]}}  # mine\n"
    assert with_endpoints(after, "m", [C], [B]) == after
    assert with_endpoints(text, "m", [A], [A]) != text  # its weight is that of a new one
    with pytest.raises(EditError, match="no endpoint of m would be left"):
        with_endpoints(text, "m", [], [A, B])
    assert (
        without_backend(text, "m", [B])
        == f"backends:\n  m: {{endpoints: [{{url: {A}, weight: 4}}]}}  # mine\n"
    )
    assert without_backend(text, "gone", [B]) == text
    assert (
        with_endpoints(f"backends: {{m: {{endpoints: {A}}}}}", "m", [B], [])
        == f"backends: {{m: {{endpoints: [{A}, {B}]}}}}"
    )


def test_a_new_backend_says_which_version_it_is():
    text = with_backend("backends: {}\n", "churn-3", [A], "churn/3")
    assert text == f'backends: {{churn-3: {{endpoints: [{A}], version: "3", health: {{path: /health}}}}}}\n'
    assert yaml.safe_load(text)["backends"]["churn-3"]["version"] == "3"
    text = with_backend("registry: {kind: folder}\nbackends: {}\n", "churn-3", [A], "churn/3")
    assert values(text)["backends"]["churn-3"]["registry"] == "churn/3"
    assert with_backend(text, "churn-3", [B], "churn/3") == text.replace(A, f"{A}, {B}")


def test_rollouts_of_others_stay():
    one = "{champion: a, challenger: b}"
    text = f"routes:\n  - name: churn\n    rollout:\n      - {one}\n      - {{champion: a, challenger: c}}  # mine\n"
    assert without_rollouts(text, "churn", "c") == text.replace(
        "      - {champion: a, challenger: c}  # mine\n", ""
    )
    assert without_rollouts(text, "churn", "x") == text
    assert values(without_rollouts(text, "churn", "a")) == {"routes": [{"name": "churn"}]}
    assert (
        without_rollouts(f"routes: [{{name: churn, rollout: {one}}}]", "churn", "b")
        == "routes: [{name: churn}]"
    )
    assert without_rollouts("routes: [{name: churn}]", "churn", "b") == "routes: [{name: churn}]"


def test_lists_of_lines_and_anchors():
    text = f"backends:\n  m:\n    endpoints:\n      - {A}  # the old one\n      - {B}\n    version: 2\n"
    assert values(with_endpoints(text, "m", [C], [A])) == {
        "backends": {"m": {"endpoints": [B, C], "version": "2"}}
    }
    shared = f"x: &e [{A}]\nbackends:\n  m: {{endpoints: *e}}\n"
    with pytest.raises(EditError, match=r"write by hand: backends\.m\.endpoints: \[http"):
        with_endpoints(shared, "m", [B], [])


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda text: with_rollout(text, "fraud", {}, {}), r"the file has no route 'fraud'; it has churn"),
        (lambda text: put(text, ["backends", "m", "x"], "y"), r"backends\.m is not there"),
        (lambda text: put(text, ["routes", 0, "name", "x"], "y"), "is no mapping and no list"),
        (lambda text: put(": [", ["a"], "y"), "the file is no YAML"),
        (lambda text: cut(text, ["routes", 4]), r"routes\.4 is not there"),
    ],
)
def test_what_cannot_be_edited_is_said(edit, problem):
    with pytest.raises(EditError, match=problem):
        edit("backends: {}\nroutes: [{name: churn}]\n")
