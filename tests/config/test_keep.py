"""`keep` of a route: its defaults, and what it needs."""

from __future__ import annotations

import sys

import pytest

from crossfade.config.load import load
from crossfade.quality.keep import Keep
from crossfade.routing.compiling import compile_snapshot
from crossfade.routing.ledger import new_ledger, salt_of
from tests.config.sample import errors, loaded, text

FORMATS = [
    ("auto", True, True),
    ("auto", False, False),
    ("parquet", True, True),
    ("jsonl", True, False),
]


def test_the_defaults() -> None:
    config = load(text(route="prediction: {score: s}\n    keep: {dir: pairs}"), "f.yaml", {}).config
    (route,) = config.routes
    assert route.keep is not None
    assert Keep(route.keep.dir, route.keep.max, route.keep.rotate) == Keep("pairs", 2**30, 3600.0)
    assert route.keep.format == "auto"


@pytest.mark.parametrize(("written", "there", "parquet"), FORMATS)
def test_pairs_are_kept_as_parquet_where_that_can_be(
    written: str, there: bool, parquet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not there:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    config = loaded(text(route=f"prediction: {{score: s}}\n    keep: {{dir: pairs, format: {written}}}"))
    ledgers = {r.name: new_ledger(r.split, salt_of(r.name)) for r in config.config.routes}
    (route,) = compile_snapshot(config, ledgers, {}, (), 1).routes
    assert route.keep == Keep("pairs", 2**30, 3600.0, parquet)


def test_parquet_without_pyarrow_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    written = text(route="prediction: {score: s}\n    keep: {dir: pairs, format: parquet}")
    assert not errors(written)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (found,) = errors(written)
    assert "routes[0].keep.format: needs the package pyarrow" in found
    assert "pip install 'crossfade[parquet]'" in found


@pytest.mark.parametrize(
    ("route", "place", "message"),
    [
        ("keep: {dir: pairs}", "keep", "no answer of this route is read"),
        ("prediction: {score: s}\n    keep: {}", "keep", "dir"),
        ("prediction: {score: s}\n    keep: {dir: pairs, max: 1KiB}", "keep.max", "at least"),
        ("prediction: {score: s}\n    keep: {dir: pairs, format: csv}", "keep.format", "jsonl"),
        ("prediction: {score: s}\n    keep: {dir: pairs, size: 1GiB}", "keep", "size"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(route: str, place: str, message: str) -> None:
    (found,) = errors(text(route=route))
    assert f"routes[0].{place}" in found
    assert message in found
