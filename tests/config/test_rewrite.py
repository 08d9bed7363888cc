"""Edits of a file's text change what they name, and not a byte beside it."""

from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.config.rewrite import NoSuchPlace, with_value, without_key

HEAD = """# the head stays
backends:
  v2: {endpoints: [http://127.0.0.1:9002]}
  v3: {endpoints: [http://127.0.0.1:9003]}
listen: 127.0.0.1:0
routes:
  - name: other   # not this one
    match: {path: /x}
    split: {v2: 100%}
"""
FLOW = """  - name: churn
    split: {v2: 100%}   # by weight
    # what follows is on trial
    rollout:
      strategy: canary
      champion: v2
      challenger: v3      # new

    fallback: v2
# the end
"""
BLOCK = """  - name: churn
    split:
      v2: 60%
      v3: 40%  # less

    rollout: [{strategy: canary, champion: v2, challenger: v3}]
    fallback: v2
"""
LAST = """  - name: churn
    split: {v2: 100%}
    rollout:
      strategy: canary
      champion: v2
      challenger: v3"""


@pytest.mark.parametrize(
    ("route", "before", "after"),
    [
        (FLOW, "{v2: 100%}   # by weight", "{v3: 100%}   # by weight"),
        (BLOCK, "v2: 60%\n      v3: 40%  # less", "{v3: 100%}  # less"),
    ],
)
def test_a_value_is_replaced_in_place(route, before, after):
    assert with_value(HEAD + route, "churn", "split", "{v3: 100%}") == HEAD + route.replace(before, after)


@pytest.mark.parametrize(
    ("route", "left"),
    [
        (FLOW, FLOW[: FLOW.index("    rollout")] + FLOW[FLOW.index("\n    fallback") :]),
        (BLOCK, BLOCK.replace("    rollout: [{strategy: canary, champion: v2, challenger: v3}]\n", "")),
        (LAST, LAST[: LAST.index("    rollout")]),
    ],
)
def test_a_key_is_taken_out(route, left):
    text = without_key(HEAD + route, "churn", "rollout")
    assert text == HEAD + left
    assert load(text, "x", {}).config.routes[1].rollout == ()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (HEAD, "split"),
        (HEAD + FLOW, "mirror"),
        (HEAD + "  - {name: churn, split: {v2: 1}, rollout: {strategy: canary}}\n", "rollout"),
        (
            HEAD.replace("split: {v2: 100%}", "split: &all {v2: 100%}")
            + "  - name: churn\n    split: *all\n",
            "split",
        ),
    ],
)
def test_what_cannot_be_edited_in_place_is_said(text, key):
    with pytest.raises(NoSuchPlace):
        without_key(text, "churn", key)
