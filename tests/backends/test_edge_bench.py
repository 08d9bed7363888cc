"""Versions are measured in processes of their own; table, JSON and picture say what was measured."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from crossfade_backends import edge, edge_bench
from crossfade_backends.edge_bench import Measured, Timed, quantile
from crossfade_backends.edge_parity import Parity
from crossfade_backends.edge_report import Line, as_json, duration, plot, size, table

SVG = "{http://www.w3.org/2000/svg}"


def line(version: str, kind: str, factor: int, parity: Parity | None = None) -> Line:
    timed = (Timed(1, 1e-5 * factor, 4e-5 * factor), Timed(100, 1e-3 * factor, 1e-3 * factor))
    scores = np.array([0.5])
    measured = Measured(
        version, f"{kind} 1.0", 100 * factor, 0.5 * factor, 10, 10 + 20 * factor, timed, scores
    )
    return Line(measured, kind, parity)


LINES = [
    line("v2", "scikit-learn", 4),
    line("v2-a-long-name-<&>", "int8", 1, Parity(200, {"low → high": 1}, 0.25, 0.01)),
]


def test_each_version_is_measured_alone_before_and_after(
    edge_registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "churn@v2-int8", "churn@v2", "--registry", str(edge_registry), "--json"]
    picture = tmp_path / "edge.svg"
    assert edge.main([*arguments, "--batch", "7", "--calls", "3", "--plot", str(picture)]) == 0
    source, made = json.loads(capsys.readouterr().out)
    assert (source["version"], made["version"]) == ("v2", "v2-int8"), "below what it is made of"
    assert "parity" not in source
    assert made["parity"]["rows"] == 1500
    assert 0 < made["parity"]["largest"] < 0.05
    for facts in (source, made):
        path = edge_registry / "churn" / facts["version"]
        assert facts["file"] == next(path.glob("model.*")).stat().st_size
        assert [timed["rows"] for timed in facts["timed"]] == [1, 7]
        assert all(0 < timed["p50"] <= timed["p99"] for timed in facts["timed"])
        assert facts["load"] > 0
    taken = [facts["memory"] - facts["memory_before"] for facts in (source, made)]
    assert taken[0] > taken[1] > 0, "scikit-learn takes more than onnxruntime"
    assert ElementTree.parse(picture).getroot().tag == f"{SVG}svg"


def test_the_table_has_a_line_for_each_version() -> None:
    head, ruler, *lines = table(LINES).splitlines()
    assert len({len(line) for line in (head, ruler, *lines)}) == 1, "aligned"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *lines)]
    assert cells == [
        ["version", "runs with", "file", "load", "memory, before → after", "1 row: p50, p99",
         "100 rows: p50, p99", "decisions changed"],
        ["v2", "scikit-learn 1.0", "400 B", "2 s", "10 B → 90 B", "40 µs, 160 µs", "4 ms, 4 ms", ""],
        ["v2-a-long-name-<&>", "int8 1.0", "100 B", "500 ms", "10 B → 30 B", "10 µs, 40 µs", "1 ms, 1 ms",
         "0.50%"],
    ]  # fmt: skip


def test_json_has_numbers_in_bytes_and_seconds() -> None:
    source, made = json.loads(as_json(LINES))
    assert source["timed"] == [
        {"rows": 1, "p50": 4e-5, "p99": 1.6e-4},
        {"rows": 100, "p50": 4e-3, "p99": 4e-3},
    ]
    assert (source["file"], source["load"], source["memory_before"], source["memory"]) == (400, 2.0, 10, 90)
    assert made["parity"] == {"rows": 200, "changed": 0.005, "largest": 0.25}


def test_bars_are_as_long_as_their_figures() -> None:
    """Files, loads, memories and p50 are 4 : 1; where there is a line from p50 to p99 it ends at 4 times the bar."""
    root = ElementTree.fromstring(plot(LINES))
    bars = [float(bar.get("width", "")) for bar in root.iter(f"{SVG}rect") if bar.get("height") == "14"]
    assert len(bars) == 2 * 5
    assert all(
        long == pytest.approx(4 * short, abs=0.3) for long, short in zip(bars[::2], bars[1::2], strict=True)
    )
    assert len(list(root.iter(f"{SVG}path"))) == 2
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert "v2-a-long-n…" in texts
    assert {"400 B", "500 ms", "40 µs, 160 µs"} <= set(texts)
    description = root.find(f"{SVG}desc")
    assert description is not None
    assert "v2-a-long-name-<&>: file: 100 B, load" in (description.text or "")


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1), (0.991, 100)])
def test_quantiles_are_values_that_occurred(share: float, expected: int) -> None:
    assert quantile(range(100, 0, -1), share) == expected


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (999_999, "1 MB"),
        (999.6e6, "1000 MB"),
        (2.5e7, "25 MB"),
        (4.2e9, "4200 MB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.0, "2 s"),
        (0.99999, "1 s"),
        (0.00099999, "1 ms"),
        (0.0123, "12.3 ms"),
        (4.2e-6, "4.2 µs"),
        (1e-7, "0.1 µs"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_version_that_cannot_be_loaded_is_named(
    edge_registry_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its error comes from the process that measures."""
    (edge_registry_copy / "churn/v2-int8/model.onnx").write_bytes(b"damaged")
    assert edge.main(["bench", "churn@v2-int8", "--registry", str(edge_registry_copy)]) == 1
    assert "v2-int8/model.onnx: SHA-256 is" in capsys.readouterr().err


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_measuring_process_that_is_killed_is_said(
    edge_registry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edge_bench, "_measured", killed)
    assert edge.main(["bench", "churn@v2", "--registry", str(edge_registry)]) == 1
    assert "v2/model.skops: the process that measured it was killed" in capsys.readouterr().err


def test_a_registry_without_versions_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edge.main(["bench", "--registry", str(tmp_path)]) == 1
    assert "has no version of 'churn'" in capsys.readouterr().err
