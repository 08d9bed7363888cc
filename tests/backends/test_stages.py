from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from crossfade_backends.locks import locked_folder
from crossfade_backends.registry import RegistryError, Stage, load_model, read_metadata, write_metadata
from crossfade_backends.stages import NEXT, main, move, tag


@pytest.fixture
def root(tmp_path: Path, registry: Path) -> Path:
    shutil.copytree(registry, tmp_path / "models")
    return tmp_path / "models"


def stage_of(root: Path, version: str) -> str:
    return read_metadata(root, "churn", version).stage


def test_a_version_goes_through_its_stages_and_another_one_archives_it(root: Path):
    assert stage_of(root, "v2") == "none"
    for version in ("v2", "v3"):
        move(root, "churn", version, "staging")
        move(root, "churn", version, "production")
    assert (stage_of(root, "v2"), stage_of(root, "v3")) == ("archived", "production")
    move(root, "churn", "v2", "production")
    assert (stage_of(root, "v2"), stage_of(root, "v3")) == ("production", "archived")
    load_model(root, read_metadata(root, "churn", "v2"))


@pytest.mark.parametrize(("before", "after"), list(product(get_args(Stage), repeat=2)))
def test_only_the_moves_of_the_table_are_made(root: Path, before: Stage, after: Stage):
    metadata = read_metadata(root, "churn", "v2").model_copy(update={"stage": before})
    write_metadata(root, metadata)
    if before == after or after in NEXT[before]:
        assert move(root, "churn", "v2", after).stage == stage_of(root, "v2") == after
    else:
        with pytest.raises(RegistryError, match=f"is in the stage {before}, which is followed by"):
            move(root, "churn", "v2", after)
        assert stage_of(root, "v2") == before


def test_tags_are_added_and_replaced(root: Path):
    tag(root, "churn", "v2", endpoint="http://a", order="1")
    assert tag(root, "churn", "v2", endpoint="http://b").tags == {"endpoint": "http://b", "order": "1"}
    assert read_metadata(root, "churn", "v2").tags["endpoint"] == "http://b"


@pytest.mark.parametrize(
    "act", [lambda root: move(root, "churn", "v2", "staging"), lambda root: tag(root, "churn", "v2", a="1")]
)
def test_who_changes_a_version_waits_for_who_changes_it_now(root: Path, act: Callable[[Path], object]):
    with ThreadPoolExecutor(1) as thread:
        with locked_folder(root / "churn"):
            acting = thread.submit(act, root)
            with pytest.raises(TimeoutError):
                acting.result(0.2)
            metadata = read_metadata(root, "churn", "v2")
            write_metadata(root, metadata.model_copy(update={"tags": {"owner": "ann"}}))
        acting.result(60)
    changed = read_metadata(root, "churn", "v2")
    assert changed.tags["owner"] == "ann"
    assert changed.stage == "staging" or changed.tags["a"] == "1"


def test_the_command_shows_and_moves(root: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--registry", str(root), "v3", "staging"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[1:3] for line in lines) == [["v2", "none"], ["v3", "staging"], ["v4", "none"]]
    assert main(["--registry", str(root), "v9", "staging"]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert main(["--registry", str(root), "v2", "production"]) == 1
    with pytest.raises(SystemExit):
        main(["--registry", str(root), "v2"])
