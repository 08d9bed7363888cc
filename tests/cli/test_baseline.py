"""`crossfade baseline`: a profile of a file of each kind, one that is learned, and one that is printed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow.parquet import write_table

from crossfade.cli import baseline as module
from crossfade.cli.baseline import drawn
from crossfade.cli.exits import INVALID, OK, UNKNOWN_NAME, USAGE
from crossfade.quality.profile import CategoryField, NumberField, Profile, read_profile
from tests.admin.site import Site
from tests.cli.conftest import Shell
from tests.control.harness import HEADING

WATCHED = HEADING + "    prediction: {score: p}\n    drift: {rows: 500}\n"
ROWS: list[dict[str, Any]] = [
    {"age": float(i % 50), "plan": "ab"[i % 2], "new": i % 3 == 0, "p": i / 300, "churned": i % 2}
    for i in range(300)
]


def as_csv(path: Path) -> None:
    lines = [",".join(str(value) for value in row.values()) for row in ROWS]
    path.write_text("\n".join([",".join(ROWS[0]), *lines]) + "\n")


def as_ndjson(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def as_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS))


def as_parquet(path: Path) -> None:
    write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.fixture
async def watched(site: Site) -> Site:
    await site.harness.load(WATCHED)
    await site.harness.controller.drift.idle()
    await site.harness.tick()
    return site


FILES = {"rows.csv": as_csv, "rows.ndjson": as_ndjson, "rows.json": as_json, "rows.parquet": as_parquet}


def profile_in(path: Path) -> Profile:
    return read_profile(path.read_bytes())


@pytest.mark.parametrize("name", FILES)
async def test_a_file_of_each_kind_gives_the_same_profile(shell: Shell, tmp_path: Path, name: str) -> None:
    FILES[name](tmp_path / name)
    out = tmp_path / "profile.json"
    words = ("--from", str(tmp_path / name), "--score", "p", "--drop", "churned", "-o", str(out))
    done = await shell.run("baseline", "churn", *words)
    assert (done.code, done.out, done.err) == (OK, "", "")
    profile = profile_in(out)
    assert set(profile.fields) == {"age", "plan", "new"}
    assert isinstance(profile.fields["age"], NumberField) and profile.fields["age"].high == 49
    assert profile.fields["plan"] == CategoryField(300, {"a": 150, "b": 150})
    assert profile.fields["new"] == CategoryField(300, {"false": 200, "true": 100})
    assert profile.score is not None and profile.score.n == 300
    assert (profile.name, profile.rows, len(profile.sample)) == (name, 300, 300)


async def test_a_route_is_given_the_profile_and_prints_it(
    watched: Site, shell: Shell, tmp_path: Path
) -> None:
    as_csv(tmp_path / "rows.csv")
    given = await shell.run_with_admin("baseline", "churn", "--from", str(tmp_path / "rows.csv"))
    assert (given.code, given.out) == (OK, "churn: compared with 300 rows, 5 fields\n")
    route = watched.harness.controller.drift.route("churn")
    printed = await shell.run_with_admin("baseline", "churn")
    assert read_profile(printed.out.encode()) == route.whole
    kept = await shell.run_with_admin("baseline", "churn", "-o", str(tmp_path / "kept.json"))
    assert (kept.code, kept.out) == (OK, "")
    assert profile_in(tmp_path / "kept.json") == route.whole


async def test_live_traffic_becomes_the_profile(watched: Site, shell: Shell) -> None:
    told = await shell.run_with_admin("baseline", "churn", "--from", "live")
    assert (told.code, told.out) == (OK, "churn: the next requests become the profile\n")
    assert watched.harness.controller.drift.route("churn").attempt > 0
    assert (await shell.run_with_admin("baseline", "churn", "--from", "live", "--json")).json[
        "state"
    ] == "learning"


async def test_what_cannot_be_done_is_said(watched: Site, shell: Shell, tmp_path: Path) -> None:
    as_csv(tmp_path / "rows.csv")
    (tmp_path / "bad.csv").write_text("a,b\n1,2,3\n")
    (tmp_path / "bad.ndjson").write_text('{"a": 1}\n{\n')
    (tmp_path / "list.json").write_text("[[1]]")
    (tmp_path / "empty.csv").write_text("a,b\n")
    (tmp_path / "bad.parquet").write_text("no parquet")
    cases = {
        (INVALID, "bad.csv:2: more cells than columns"): ("--from", f"{tmp_path}/bad.csv"),
        (INVALID, "bad.ndjson:2: not JSON"): ("--from", f"{tmp_path}/bad.ndjson"),
        (INVALID, "list.json: each row must be an object"): ("--from", f"{tmp_path}/list.json"),
        (INVALID, "empty.csv: has no rows"): ("--from", f"{tmp_path}/empty.csv"),
        (INVALID, "bad.parquet: "): ("--from", f"{tmp_path}/bad.parquet"),
        (INVALID, "none.csv: No such file"): ("--from", f"{tmp_path}/none.csv"),
        (INVALID, "there is no column x"): ("--from", f"{tmp_path}/rows.csv", "--drop", "x"),
        (INVALID, "column plan has no numbers"): ("--from", f"{tmp_path}/rows.csv", "--score", "plan"),
        (USAGE, "must be live, or end in .csv"): ("--from", "rows.txt"),
        (USAGE, "-o goes with a file"): ("--from", "live", "-o", "x"),
        (UNKNOWN_NAME, "no profile yet"): (),
    }
    for (code, message), words in cases.items():
        done = await shell.run_with_admin("baseline", "churn", *words)
        assert done.code == code, done
        assert message in done.err
    assert (await shell.run_with_admin("baseline", "gone")).code == UNKNOWN_NAME


async def test_a_profile_that_is_too_large_has_fewer_sampled_rows(
    watched: Site, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_csv(tmp_path / "rows.csv")
    monkeypatch.setattr(module, "LARGEST", 6000)
    done = await shell.run_with_admin("baseline", "churn", "--from", str(tmp_path / "rows.csv"))
    assert done.code == OK
    whole = watched.harness.controller.drift.route("churn").whole
    assert whole is not None and 0 < len(whole.sample) < 300


def test_of_many_rows_some_are_drawn_with_equal_chances() -> None:
    counts = [0] * 40
    for seed in range(1000):
        for row in drawn(iter({"i": i} for i in range(40)), 10, random.Random(seed)):
            counts[row["i"]] += 1
    assert min(counts) > 180 and max(counts) < 320


async def test_status_says_what_has_drifted(watched: Site, shell: Shell) -> None:
    assert "has drifted" not in (await shell.run_with_admin("status")).out
    watched.harness.controller.state.route("churn").drifting = ["field age", "score"]
    assert "churn has drifted: field age, score\n" in (await shell.run_with_admin("status")).out
