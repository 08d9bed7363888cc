"""The memory of idle connections, measured with a few, and the error if the limit of descriptors is too low."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import msgspec
import pytest

from loadtests import connections
from loadtests.connections import FILE, NAMES, Costs, main
from loadtests.processes import BenchError


def test_a_run_prints_and_writes_the_cost_of_a_connection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "NAMES", ("crossfade",))
    file = tmp_path / "connections.json"
    assert main(["--connections", "300", "--json", str(file)]) == 0, capsys.readouterr().err
    written = json.loads(file.read_text())
    assert json.loads(capsys.readouterr().out) == written
    (cost,) = written["costs"]
    assert (cost["proxy"], written["connections"]) == ("crossfade", 300)
    assert cost["before"] > 10
    assert cost["bytes_per_connection"] < 100_000


def test_a_low_limit_of_descriptors_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 200))
    with pytest.raises(BenchError, match="200 descriptors"):
        connections.allow_descriptors(10_000)


def test_the_numbers_in_the_docs_are_those_of_the_result_file() -> None:
    measured = msgspec.json.decode(FILE.read_bytes(), type=Costs)
    assert measured.connections == 10_000
    assert [cost.proxy for cost in measured.costs] == list(NAMES)
    page = (Path(__file__).parents[2] / "docs" / "connections.md").read_text()
    for cost in measured.costs:
        assert f"{cost.proxy} {cost.bytes_per_connection / 1000:.1f} kB" in page
