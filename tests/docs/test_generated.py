"""What is generated in docs/ is what the code says now; and the reference of the YAML has every key of every type."""

from __future__ import annotations

import re

from crossfade.config.address import EndpointConfig, ListenConfig
from crossfade.config.cache import CacheKeyConfig
from crossfade.config.match import StickyConfig
from crossfade.config.prediction import SegmentConfig
from crossfade.config.schema import json_schema
from crossfade.config.section import Section
from crossfade.rollout.verdict import Verdict
from tests.docs import evidence_paths, yaml_reference
from tests.docs.blocks import ROOT
from tests.docs.generate import contents
from tests.docs.metrics_table import families, labels_of

WRITTEN_AS_TEXT: set[type[Section]] = {
    ListenConfig,
    EndpointConfig,
    StickyConfig,
    SegmentConfig,
    CacheKeyConfig,
}


def test_generated_pages_are_current():
    old = [path.name for path, content in contents().items() if path.read_text("utf-8") != content]
    assert old == [], "run python -m tests.docs.generate"


def test_the_reference_has_each_key_of_each_section_once():
    page = (ROOT / "docs/yaml.md").read_text("utf-8")
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    tables = [set(re.findall(r"^\| `([a-z0-9_]+)` \|", section, re.MULTILINE)) for section in sections]
    for kind in set(Section.__subclasses__()) - WRITTEN_AS_TEXT:
        keys = {field.alias or name for name, field in kind.model_fields.items()}
        assert keys in tables, kind.__name__
    names = [section.splitlines()[0] for section in sections]
    assert len(set(names)) == len(names)


def test_each_page_that_says_more_is_of_a_section():
    names = {part.name for part in yaml_reference.parts(json_schema()).values()}
    assert set(yaml_reference.MORE) <= names


def test_the_pictures_show_what_the_page_says():
    """As good, near the limit, gross, late, an outage of both."""
    ends = [path[-1] for path in evidence_paths.paths().values()]
    assert [end.finding.verdict is Verdict.FAIL for end in ends] == [False, True, True, True, False]
    assert ends[2].minute < 2 < ends[1].minute
    assert ends[3].minute > 20
    highest = max(look.finding.evidence or 0 for path in evidence_paths.healthy() for look in path)
    assert highest < 3


def test_each_label_of_a_metric_has_a_bound():
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    rows = page.partition("## How many series")[2].partition("## All metrics")[0].splitlines()
    bounded = {
        label for row in rows if row.startswith("| `") for label in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    used = {label for family in families() for label in labels_of(family)}
    assert used == bounded
