from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossfade.config.reader import read
from crossfade.config.schema import json_schema
from tests.config.sample import text
from tests.config.schema_check import faults, value_in_editors

CONFIG = Path(__file__).parents[2] / "config"
FILES = sorted(CONFIG.rglob("*.yaml"))
SCHEMA = json_schema()
RENEW = "crossfade schema > config/schema.json"


def faults_of(written: str) -> list[str]:
    return faults(value_in_editors(read(written, "f", {"X": "1"}).root), SCHEMA, SCHEMA)


def test_the_committed_schema_is_up_to_date():
    assert json.loads((CONFIG / "schema.json").read_text("utf-8")) == SCHEMA, f"renew it with: {RENEW}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_schema_accepts_the_examples(file: Path):
    document = read(file.read_text("utf-8").replace("${", "$${"), file.name, {})
    assert not document.problems
    assert faults(value_in_editors(document.root), SCHEMA, SCHEMA) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_names_the_schema_for_editors(file: Path):
    first = file.read_text("utf-8").partition("\n")[0]
    name = first.removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / name).resolve() == CONFIG / "schema.json"


@pytest.mark.parametrize(
    "written",
    [
        text(top="drain: 5", split="{a: 5%, b: 0.95}"),
        text(top="drain: 1m30s", split="{a: 1, b: 2.5}"),
        text(top="workers: auto"),
        text(top="workers: 4"),
        text(top="workers: '$${N}'"),
        text(backend="b: {endpoints: [http://b], health: false, version: 1.10}"),
        text(top="access_log: off"),
        text(top="access_log: {to: a.log, sample: 1%, query: true}"),
        text(route="retry: {pure: '$${PURE}', budget: 0.2, attempts: 0}"),
        text(route="limits: {body: 512, inspect: 64KiB}"),
        text(route="sticky: [{client_ip: true}, {json: a.b}]"),
        text(route="match: {json: {a: 1, b: x, c: true}, headers: {x: 1}, methods: GET}"),
        text(route="rollout: {strategy: canary, champion: a, challenger: b, fuse: false, checks: {metric: error_rate, max: 1%}}"),
        text(route="rollout: {strategy: '$${S}', champion: a, challenger: b, alpha: 1%, steps: [{weight: 0.05, hold: 24h}]}"),
    ],
)  # fmt: skip
def test_the_schema_accepts_each_spelling(written: str):
    assert faults_of(written) == []


@pytest.mark.parametrize(
    "written",
    [
        text(top="drian: 5"),
        text(top="drain: soon"),
        text(top="workers: many"),
        text(split="{a: lots, b: 1}"),
        text(backend="b: {endpoints: ftp://b}"),
        text(backend="b: {}"),
        text(backend="b: {endpoints: http://b, health: true}"),
        text(route="sticky: {heder: x}"),
        text(route="sticky: {header: x, cookie: y}"),
        text(route="retry: {pure: often}"),
        text(route="match: {path: x}"),
        text(route="limits: {body: 10 pints}"),
        text(route="rollout: {strategy: canry, champion: a, challenger: b}"),
        text(route="rollout: {strategy: canary, champion: a, challenger: b, steps: [{hold: 1h}]}"),
    ],
)
def test_the_schema_finds_mistakes(written: str):
    assert faults_of(written)


def properties(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, section in {"": schema, **schema["$defs"]}.items():
        for key, member in section["properties"].items():
            yield f"{name}.{key}", member


@pytest.mark.parametrize(("place", "schema"), list(properties(SCHEMA)))
def test_each_key_has_a_description_and_a_valid_default(place: str, schema: dict[str, Any]):
    assert schema.get("description"), place
    if schema.get("default") is not None:
        assert faults(schema["default"], schema, SCHEMA) == []
