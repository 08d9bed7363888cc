"""Each block of YAML in the pages is a configuration that loads, or says whose it is."""

from __future__ import annotations

import json

import pytest
import yaml

from crossfade.config.load import load
from crossfade.config.problem import ConfigError
from tests.docs.blocks import Block, blocks, blocks_of
from tests.docs.completing import completed, environment

OURS = [block for block in blocks("yaml") if block.says != "not ours"]
OTHERS = [block for block in blocks("yaml") if block.says == "not ours"]
# Of what the page leaves out.
_OF_THE_PART = ("no route uses this backend",)


@pytest.mark.parametrize("block", OURS, ids=str)
def test_it_loads_without_a_warning(block: Block):
    whole = completed(block.text, bool(block.indented))
    found = load(whole, str(block), environment(block.text))
    messages = [problem.message for problem in found.warnings]
    assert [m for m in messages if not any(part in m for part in _OF_THE_PART)] == []


@pytest.mark.parametrize("block", OTHERS, ids=str)
def test_what_is_of_others_is_yaml(block: Block):
    assert block.what, "the comment says whose it is: <!-- not ours: Prometheus -->"
    assert all(isinstance(document, dict | list) for document in yaml.safe_load_all(block.text))


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_json(block: Block):
    """One document, or one a line."""
    decoder, rest = json.JSONDecoder(), block.text.strip()
    while rest:
        _, end = decoder.raw_decode(rest)
        rest = rest[end:].strip()


def test_every_block_says_its_language():
    assert [str(block) for block in blocks("")] == []


@pytest.mark.parametrize(
    "wrong",
    [
        "strategi: canary\n",
        "routes:\n  - {name: churn, splt: {churn-v2: 100%}}\n",
        "rollout: {steps: [{wieght: 5%, hold: 1h}]}\n",
        "prometheus: {urll: http://p:9090}\n…\nchecks: [{metric: error_rate, max: 1%}]\n",
    ],
)
def test_a_key_that_is_wrong_is_found(wrong: str):
    (block,) = blocks_of(f"```yaml\n{wrong}```\n", "page.md")
    with pytest.raises((ValueError, ConfigError), match=r"strategi|splt|wieght|urll"):
        load(completed(block.text, False), "page.md", {})
