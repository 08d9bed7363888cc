"""`python -m crossfade_backends.batch`: the scores of the server, in files of each format, and what survives a kill."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from crossfade_backends.batch import main
from crossfade_backends.batch_parts import COLUMNS
from crossfade_backends.data import as_request, draw_sample
from crossfade_backends.registry import write_durably
from crossfade_backends.stages import move, named_version
from tests.backends.serving import fetch, serving

ROWS = 250
BAD = {"customer_id": "bad", "nb_transactions_30d": -1}


def customers(n: int = ROWS) -> list[dict[str, Any]]:
    sample = draw_sample(n, 12)
    return [as_request(sample, i) for i in range(n)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=100)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return found
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return [
                row | {"churn_probability": float(row["churn_probability"])} for row in csv.DictReader(file)
            ]
    return [json.loads(line) for line in path.read_text().splitlines()]


def batch(registry: Path, *arguments: object, model: str = "churn@v2") -> int:
    return main(["--registry", str(registry), "--model", model, "--processes", "1", *map(str, arguments)])


@pytest.mark.parametrize("made", [".parquet", ".csv", ".ndjson"])
@pytest.mark.parametrize("given", [".parquet", ".csv", ".ndjson"])
async def test_a_batch_has_the_scores_of_the_server_bit_for_bit(registry, tmp_path, given, made, capsys):
    """v2, as linear models are where one row and many can differ."""
    rows = customers()
    source, out = write(tmp_path / f"in{given}", rows), tmp_path / f"out{made}"
    assert batch(registry, source, out, "--chunk", 90) == 0
    summary = json.loads(capsys.readouterr().out)
    found = read(out)
    assert [list(row) for row in found] == [list(COLUMNS)] * ROWS
    async with serving(registry, "v2") as client:
        for row, scored in list(zip(rows, found, strict=True))[:: 1 if given == made == ".csv" else 40]:
            _, answer = await fetch(client, "POST", "/predict", json=row)
            names = ("customer_id", "churn_probability", "risk_level", "model_version")
            assert {name: scored[name] for name in names} == {name: answer[name] for name in names}
            assert str(scored["prediction_date"]) == datetime.now(UTC).date().isoformat()
    assert (summary["rows"], summary["bad"], summary["versions"]) == (ROWS, 0, {"v2": ROWS})
    assert sum(summary["scores"]["histogram"]) == ROWS
    assert summary["scores"]["mean"] == pytest.approx(sum(r["churn_probability"] for r in found) / ROWS)
    assert not (tmp_path / f"out{made}.partial").exists()


def test_keys_that_are_integers_stay_integers_in_parquet(registry, tmp_path):
    rows = [row | {"customer_id": 10**12 + i} for i, row in enumerate(customers(5))]
    assert batch(registry, write(tmp_path / "in.parquet", rows), tmp_path / "out.parquet") == 0
    assert [row["customer_id"] for row in read(tmp_path / "out.parquet")] == [10**12 + i for i in range(5)]


def test_whole_numbers_that_a_table_has_as_floats_are_counts(registry, tmp_path):
    rows = [row | {"support_tickets_90d": float(row["support_tickets_90d"])} for row in customers(5)]
    rows.append(rows[0] | {"support_tickets_90d": None})
    assert batch(registry, write(tmp_path / "in.parquet", rows), tmp_path / "out.csv") == 0
    assert len(read(tmp_path / "out.csv")) == 5
    [bad] = read(tmp_path / "out.csv.bad.ndjson")
    assert (bad["row"], bad["reason"]) == (6, "support_tickets_90d: Input should be a valid integer")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_bad_rows_go_to_a_file_of_their_own_with_the_reason(registry, tmp_path, capsys, processes):
    source = tmp_path / "in.ndjson"
    lines = [json.dumps(row) for row in customers(4)]
    source.write_text(
        "\n".join([lines[0], "{", lines[1], "", json.dumps(BAD), lines[2], "[]", lines[3]]) + "\n"
    )
    out = tmp_path / "out.ndjson"
    arguments = ("--processes", processes, "--chunk", "3")
    assert batch(registry, source, out, *arguments) == 0
    assert len(read(out)) == 4
    bad = read(tmp_path / "out.ndjson.bad.ndjson")
    assert [row["row"] for row in bad] == [2, 5, 7]
    assert bad[0]["reason"].startswith("not JSON: ")
    assert "nb_transactions_30d: Input should be greater than or equal to 0" in bad[1]["reason"]
    assert "total_amount_30d: Field required" in bad[1]["reason"]
    assert (bad[1]["input"], bad[2]["reason"]) == (BAD, "not a JSON object")
    assert json.loads(capsys.readouterr().out)["bad"] == 3
    source.write_text("\n".join(lines))
    assert batch(registry, source, out, "--overwrite") == 0
    assert not (tmp_path / "out.ndjson.bad.ndjson").exists(), "the bad rows were of the file before"


def test_cells_of_csv(registry, tmp_path):
    row = customers(1)[0]
    source = write(tmp_path / "in.csv", [row | {"customer_id": "007"}, row | {"support_tickets_90d": "1_0"}])
    with source.open("a") as file:
        file.write("too,few\n")
    assert batch(registry, source, tmp_path / "out.csv") == 0
    assert [row["customer_id"] for row in read(tmp_path / "out.csv")] == ["007"]
    bad = read(tmp_path / "out.csv.bad.ndjson")
    assert [row["row"] for row in bad] == [2, 3]
    assert bad[1]["reason"] == "has 2 cells, and there are 6 columns"


# ── interrupted ───────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_was_killed_goes_on_with_the_chunk_that_it_has_not(registry, tmp_path, capsys):
    rows = customers(6000)
    source, out, whole = (
        write(tmp_path / "in.parquet", rows),
        tmp_path / "out.parquet",
        tmp_path / "whole.parquet",
    )
    command = [
        *(
            sys.executable,
            "-m",
            "crossfade_backends.batch",
            "--registry",
            str(registry),
            "--model",
            "churn@v3",
        ),
        *("--processes", "2", str(source), str(out)),
    ]
    parts = tmp_path / "out.parquet.partial"
    for kills in (3, 20):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and len(list(parts.glob("[0-9]*.json"))) < kills:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not out.exists()
    done = len(list(parts.glob("[0-9]*.json")))
    assert done >= 20
    assert batch(registry, source, out, model="churn@v3") == 0
    assert json.loads(capsys.readouterr().out)["chunks_done_before"] == done
    assert batch(registry, source, whole, model="churn@v3") == 0
    assert read(out) == read(whole)
    assert [row["customer_id"] for row in read(out)] == [row["customer_id"] for row in rows]


@pytest.fixture
def interrupted(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[Path, Path]:
    """In and OUT of a run that ended at its second chunk, as the disk was full."""
    source, out = write(tmp_path / "in.csv", customers()), tmp_path / "out.csv"

    def full(path: Path, data: bytes) -> None:
        if path.name == ".00000001.part":
            raise OSError(28, "No space left on device", str(path))
        write_durably(path, data)

    with monkeypatch.context() as patch:
        patch.setattr("crossfade_backends.batch_parts.write_durably", full)
        assert batch(registry, source, out, "--chunk", 100) == 1
    assert ".partial/.00000001.part: No space left on device" in capsys.readouterr().err
    return source, out


def test_a_full_disk_is_said_and_the_run_goes_on_later(registry, interrupted, capsys):
    source, out = interrupted
    assert not out.exists()
    assert batch(registry, source, out, "--chunk", 100) == 0
    assert json.loads(capsys.readouterr().out)["chunks_done_before"] == 1
    assert len(read(out)) == ROWS


@pytest.mark.parametrize("changed", ["model", "chunk", "input"])
def test_another_model_or_input_does_not_go_on_from_there(registry, interrupted, capsys, changed):
    source, out = interrupted
    if changed == "input":
        with source.open("a") as file:
            file.write("\n")
    model = "churn@v3" if changed == "model" else "churn@v2"
    chunk = 50 if changed == "chunk" else 100
    assert batch(registry, source, out, "--chunk", chunk, model=model) == 1
    said = capsys.readouterr().err
    assert "the run that was interrupted had " in said
    assert said.endswith("--restart begins again\n")
    assert batch(registry, source, out, "--chunk", chunk, "--restart", model=model) == 0


def test_two_runs_do_not_write_the_same_output(registry, interrupted, capsys):
    import fcntl

    source, out = interrupted
    with (out.parent / f"{out.name}.partial" / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert batch(registry, source, out, "--chunk", 100) == 1
    assert "another run writes it" in capsys.readouterr().err


# ── bad options ───────────────────────────────────────────────────────────────────────────────────


def test_an_output_that_is_there_is_not_replaced_unasked(registry, tmp_path, capsys):
    source, out = write(tmp_path / "in.csv", customers(3)), tmp_path / "out.csv"
    out.write_text("precious")
    assert batch(registry, source, out) == 1
    assert "exists already; --overwrite replaces it" in capsys.readouterr().err
    assert out.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("absent.csv", None, "absent.csv: No such file or directory"),
        ("in.txt", b"", "in.txt: the name must end with .parquet, .csv, .ndjson, .jsonl"),
        ("in.csv", b"", "in.csv: has no first line with the names of the columns"),
        ("in.csv", b"a,b\n\xff,1\n", "in.csv: not UTF-8: invalid start byte"),
        ("in.csv", b'a,b\n"1,2\n', "in.csv:2: unexpected end of data"),
        ("in.parquet", b"PAR1 and no more", "in.parquet: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named(registry, tmp_path, capsys, name, content, error):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert batch(registry, tmp_path / name, tmp_path / "out.csv") == 1
    assert f"error: {tmp_path}/{error}" in capsys.readouterr().err


def test_a_model_is_named_by_version_stage_or_as_the_latest(registry, tmp_path, capsys):
    import shutil

    root = tmp_path / "models"
    shutil.copytree(registry, root)
    source = write(tmp_path / "in.csv", customers(3))
    assert batch(root, source, tmp_path / "out.csv", model="churn@production") == 1
    assert (
        "nothing is 'production': a version, a stage or latest; there are v2 (none)"
        in capsys.readouterr().err
    )
    move(root, "churn", "v3", "staging")
    move(root, "churn", "v3", "production")
    assert named_version(root, "churn@production").version == "v3"
    assert named_version(root, "churn@latest").version == "v4"
    assert batch(root, source, tmp_path / "out.csv", model="spam@v1") == 1
    assert "has no model 'spam'" in capsys.readouterr().err


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_model_that_cannot_be_loaded_is_named(registry, tmp_path, capsys, processes):
    """Its error comes from the processes that score."""
    root = tmp_path / "models"
    shutil.copytree(registry, root)
    (root / "churn/v2/model.skops").write_bytes(b"damaged")
    source = write(tmp_path / "in.ndjson", customers(3))
    assert batch(root, source, tmp_path / "out.ndjson", "--processes", processes) == 1
    assert "v2/model.skops: SHA-256 is" in capsys.readouterr().err
