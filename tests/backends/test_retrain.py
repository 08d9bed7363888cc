"""The pipeline from labelled rows to a registered version: split by time, judged beside the champion, once for each order."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from crossfade_backends import labelled_rows, retrain, stages, starting
from crossfade_backends.data import FEATURES
from crossfade_backends.labelled_rows import NoRowsError
from crossfade_backends.mlflow_registry import MlflowError
from crossfade_backends.orders import read_order
from crossfade_backends.registry import METADATA_FILE, MODEL_FILE, Metadata, load_model, read_metadata
from crossfade_backends.retrain import Options, carry_out, main
from tests.backends.predictions import AT, as_lines, rows, serving

ENOUGH = 4_000


@pytest.fixture
def copied(tmp_path: Path, registry: Path) -> Path:
    copy = tmp_path / "models"
    shutil.copytree(registry, copy)
    return copy


def order(url: str, **more: Any) -> str:
    given = {"id": "1764276000-3", "route": "churn", "reason": "data_drift", "at": AT, "predictions": url}
    return json.dumps({**given, "champion": {"backend": "churn-v2", "version": None}, **more})


def trained(root: Path, body: bytes, **more: Any) -> dict[str, Any]:
    with serving(body) as log:
        return carry_out(read_order(order(log.url, **more)), Options(root))


def test_a_model_of_logged_rows_beats_the_champion_and_goes_to_staging(copied: Path):
    found = trained(copied, as_lines(rows(ENOUGH)))
    assert (found["version"], found["stage"], found["champion"]["version"]) == (
        "r1764276000-3",
        "staging",
        "v2",
    )
    assert found["rows"] == {"trained": 3_000, "held_out": 1_000, "left_out": {}}
    assert found["metrics"]["log_loss"] < found["champion"]["metrics"]["log_loss"]
    metadata = read_metadata(copied, "churn", "r1764276000-3")
    assert metadata.tags == {"order": "1764276000-3", "reason": "data_drift", "route": "churn"}
    assert metadata.metrics.n == 1_000
    load_model(copied, metadata)


def test_a_model_that_is_worse_stays_in_stage_none(copied: Path):
    """Labels by the toss of a coin teach nothing that the champion does not know better."""
    records = rows(ENOUGH)
    for n, record in enumerate(records[:3_000]):
        record["feedback"]["label"] = n % 2
    found = trained(copied, as_lines(records))
    assert found["stage"] == "none"
    assert found["metrics"]["log_loss"] > found["champion"]["metrics"]["log_loss"]


def test_a_version_is_served_before_a_rollout_finds_it_in_staging(
    copied: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = []

    def start(root: Path, name: str, version: str, host: str) -> None:
        seen.append((read_metadata(root, name, version).stage, host))

    monkeypatch.setattr(starting, "start", start)
    with serving(as_lines(rows(ENOUGH))) as log:
        found = carry_out(read_order(order(log.url)), Options(copied, start=True, host="127.0.0.2"))
    assert (seen, found["stage"]) == ([("none", "127.0.0.2")], "staging")


def test_an_order_is_carried_out_once(copied: Path):
    first = trained(copied, as_lines(rows(ENOUGH)))
    before = (copied / "churn" / first["version"] / MODEL_FILE).stat().st_mtime_ns
    with serving(b"") as log:
        again = carry_out(read_order(order(log.url)), Options(copied))
    assert log.asked == []
    assert (again["version"], again["stage"], again["metrics"]) == (
        first["version"], first["stage"], first["metrics"],
    )  # fmt: skip
    assert (copied / "churn" / first["version"] / MODEL_FILE).stat().st_mtime_ns == before


def test_two_processes_with_one_order_train_once(copied: Path):
    """As after a kill of the proxy: its command is still there when the next one begins another."""
    with serving(as_lines(rows(ENOUGH))) as log, ThreadPoolExecutor(2) as pool:
        given = read_order(order(log.url))
        both = [pool.submit(carry_out, given, Options(copied)) for _ in range(2)]
        assert {each.result()["stage"] for each in both} == {"staging"}
    assert len(log.asked) == 1


def test_a_redirect_does_not_get_the_token():
    with serving(b"") as elsewhere, serving(b"", 302) as log:
        log.location = elsewhere.url
        with pytest.raises(NoRowsError, match="answered 302"):
            list(labelled_rows.fetch(log.url, "abc"))
        assert (len(log.asked), elsewhere.asked) == (1, [])


def test_a_version_that_was_not_finished_is_trained_again(copied: Path):
    """Killed between the write of the model and of its stage."""
    first = trained(copied, as_lines(rows(ENOUGH)))
    metadata = read_metadata(copied, "churn", first["version"])
    path = copied / "churn" / first["version"] / METADATA_FILE
    path.write_text(metadata.model_copy(update={"stage": "none", "tags": {}}).model_dump_json())
    assert trained(copied, as_lines(rows(ENOUGH)))["stage"] == "staging"


def test_the_url_has_the_time_and_the_token_goes_along(copied: Path):
    with serving(as_lines(rows(ENOUGH))) as log:
        carry_out(read_order(order(log.url)), Options(copied, days=2.0, token="abc"))
        port = log.server_port
    assert log.asked == [
        (f"/api/v1/predictions/churn?labelled=true&since={AT - 2 * 86_400:.3f}", "Bearer abc")
    ]
    with pytest.raises(NoRowsError, match="cannot be read"):
        list(labelled_rows.fetch(f"http://127.0.0.1:{port}/", ""))


@pytest.mark.parametrize(
    ("champion", "used"),
    [
        ({"backend": "b", "version": "v3"}, "v3"),
        ({"backend": "b", "version": "churn/v2"}, "v2"),
        ({"backend": "v2"}, "v2"),
        ({"backend": "churn-v4"}, "v4"),
        ({"backend": "somebody"}, "v3"),
    ],
)
def test_the_champion_is_found_in_the_registry(copied: Path, champion: dict[str, str], used: str):
    stages.move(copied, "churn", "v3", "staging")
    stages.move(copied, "churn", "v3", "production")
    found = retrain._champion(read_order(order("http://h", champion=champion)), copied)
    assert found is not None and found.version == used


def test_a_champion_is_found_by_its_number_in_mlflow(copied: Path):
    stages.tag(copied, "churn", "v4", mlflow="12")
    found = retrain._champion(read_order(order("http://h", champion={"version": "churn/12"})), copied)
    assert found is not None and found.version == "v4"


def test_a_version_is_registered_with_mlflow_each_time_it_is_asked(
    copied: Path, monkeypatch: pytest.MonkeyPatch
):
    """So an order whose MLflow did not answer is tried again by the proxy, and not trained again."""
    answers: list[str | None] = [None, "12"]
    asked = []

    def register(uri: str, metadata: Metadata) -> str:
        asked.append((uri, metadata.version, metadata.stage))
        number = answers.pop(0)
        if number is None:
            raise MlflowError("no answer")
        return number

    monkeypatch.setattr(retrain, "register", register)
    with serving(as_lines(rows(ENOUGH))) as log:
        given = read_order(order(log.url))
        options = Options(copied, mlflow="http://mlflow")
        with pytest.raises(MlflowError):
            carry_out(given, options)
        assert carry_out(given, options)["mlflow"] == "churn/12"
        assert len(log.asked) == 1
    assert asked == [("http://mlflow", "r1764276000-3", "staging")] * 2
    assert read_metadata(copied, "churn", "r1764276000-3").tags["mlflow"] == "12"


def test_without_a_champion_the_new_model_goes_to_staging(copied: Path):
    assert trained(copied, as_lines(rows(ENOUGH)), champion={})["champion"] is None


def test_rows_that_cannot_be_used_are_counted():
    good, unlabelled, foreign, other = rows(4)
    unlabelled["feedback"] = {"revenue": 3}
    foreign["input"] = {"rows": []}
    lines = [
        as_lines([good]),
        as_lines([unlabelled]),
        as_lines([foreign]),
        b"\n",
        b"[]\n",
        b"{\n",
        as_lines([other]),
    ]
    found = labelled_rows.read(lines, "label", 10)
    assert [row.customer for row in found.rows] == ["C000000", "C000003"]
    assert found.left_out == {"no label": 1, "no input of one customer": 1, "no row of the log": 2}
    assert [row.customer for row in labelled_rows.read(lines, "label", 1).rows] == ["C000003"]


@pytest.mark.parametrize(
    ("label", "churned"),
    [
        (1, True),
        (0, False),
        (0.5, True),
        (0.49, False),
        (True, True),
        ("true", True),
        ("0", False),
        ("yes", None),
    ],
)
def test_labels_are_read_as_the_proxy_reads_them(label: Any, churned: bool | None):
    (record,) = rows(1)
    record["feedback"]["label"] = label
    assert [row.churned for row in labelled_rows.read([as_lines([record])], "label", 9).rows] == (
        [] if churned is None else [churned]
    )


def test_the_newest_quarter_is_held_out_with_its_customers():
    records = rows(8)
    records[1]["input"]["customer_id"] = records[7]["input"]["customer_id"]
    found = labelled_rows.read([as_lines([record]) for record in reversed(records)], "label", 100)
    train, held_out = found.split()
    assert (len(train.churned), len(held_out.churned)) == (5, 2)
    assert held_out.features[-1].tolist() == pytest.approx(
        [float(records[7]["input"][name]) for name in FEATURES]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no order: : Invalid JSON"),
        ('{"id": "1"}', "no order: predictions: Field required"),
        (order("http://h", id="../../etc"), "is not a valid id of an order"),
    ],
)
def test_what_is_no_order_is_refused(text: str, said: str):
    with pytest.raises(ValueError, match=said):
        read_order(text)


def test_too_few_rows_are_an_error_of_the_command(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with serving(as_lines(rows(100))) as log:
        (tmp_path / "order.json").write_text(order(log.url))
        assert main(["--registry", str(copied), "--order", str(tmp_path / "order.json")]) == 1
    assert "75 rows to train on" in capsys.readouterr().err
    assert not (copied / "churn" / "r1764276000-3").exists()
    with serving(b'{"detail": "no"}', 401) as log:
        (tmp_path / "order.json").write_text(order(log.url))
        assert main(["--registry", str(copied), "--order", str(tmp_path / "order.json")]) == 1
    assert 'answered 401: {"detail": "no"}' in capsys.readouterr().err


def test_the_command_trains_and_starts_a_server(copied: Path):
    with serving(as_lines(rows(ENOUGH))) as log:
        command = [sys.executable, "-m", "crossfade_backends.retrain", "--registry", str(copied), "--start"]
        ended = subprocess.run(command, input=order(log.url), capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    metadata = read_metadata(copied, "churn", found["version"])
    try:
        assert metadata.tags["endpoint"] == found["endpoint"]
        (record,) = rows(1)
        posted = Request(f"{found['endpoint']}/predict", json.dumps(record["input"]).encode(), method="POST")
        with urlopen(posted, timeout=60) as answer:
            assert json.load(answer)["model_version"] == found["version"]
        with serving(b"") as log:  # once more: the server that answers is kept
            again = carry_out(read_order(order(log.url)), Options(copied, start=True))
        assert again["endpoint"] == found["endpoint"]
    finally:
        os.kill(int(metadata.tags["pid"]), signal.SIGKILL)


def test_a_version_has_the_process_of_its_server_before_that_answers(copied: Path, monkeypatch):
    """Whoever started it may be ended meanwhile."""

    def tags_meanwhile(child: subprocess.Popen[bytes], log: Path) -> str:
        with child:
            child.kill()
        assert read_metadata(copied, "churn", "v2").tags["pid"] == str(child.pid)
        return "http://127.0.0.1:1"

    monkeypatch.setattr(starting, "_until_healthy", tags_meanwhile)
    assert starting.start(copied, "churn", "v2", "127.0.0.1") == "http://127.0.0.1:1"
    assert read_metadata(copied, "churn", "v2").tags["endpoint"] == "http://127.0.0.1:1"
