"""Each row has a valid configuration with its feature, and the table says what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossfade.config.load import load
from loadtests import features
from loadtests.features import ROWS, Found, Row, Sample, crossfade, load_of, measure_beside, render
from loadtests.generators import Outcome
from loadtests.measure import Target
from loadtests.proxies import nginx
from loadtests.work import Cores
from tests.certificates import Authority

ORIGINS = {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_configuration_of_each_row_is_valid(row: Row, tmp_path: Path) -> None:
    proxy = crossfade(row, tmp_path, ORIGINS, Authority(tmp_path).files("127.0.0.1"), tmp_path)
    file = tmp_path / "features.yaml"
    loaded = load(file.read_text(), str(file), {})
    (route,) = loaded.config.routes
    assert bool(route.rollout) == (row.name == "rollout")
    assert bool(route.mirror) == (row.name in ("mirror", "compared"))
    assert (route.prediction is not None) == (row.name in ("prediction", "sampled", "compared", "feedback"))
    assert (loaded.config.access_log is not None) == (row.name == "access_log")
    assert proxy.secure == (loaded.config.tls is not None)
    assert str(proxy.port) in " ".join(load_of(row, proxy.port, 1))


def test_nginx_and_crossfade_get_the_load_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a warm-up of each, and the CPU is that of the one that has the load."""
    row, loads = ROWS[0], []
    places = [tmp_path / "nginx", tmp_path / "ours"]
    for place in places:
        place.mkdir()
    theirs = nginx(places[0], ORIGINS, row.nginx, None)
    ours = crossfade(row, places[1], ORIGINS, Authority(tmp_path).files("127.0.0.1"), tmp_path)
    pids = {theirs.port: 1, ours.port: 2}
    cpu = {1: 0.0, 2: 0.0}

    def run_generator(argv: list[str], seconds: int, core: int) -> Outcome:
        port = next(port for port in pids if f":{port}" in " ".join(argv))
        loads.append(port)
        cpu[pids[port]] += pids[port] * 0.1
        return Outcome(1000, 1.0, 0, 1.0, 1.0)

    monkeypatch.setattr(features, "start", lambda proxy, *_: Target(proxy.name, proxy.port, pids[proxy.port]))
    monkeypatch.setattr(features, "run_generator", run_generator)
    monkeypatch.setattr(features, "cpu_seconds", cpu.__getitem__)
    monkeypatch.setattr(features, "worker_seconds", lambda pid: cpu[pid] / 2)
    found = Found(row)
    measure_beside(found, (theirs, ours), places, 3, Cores(frozenset(), frozenset()))
    assert loads == [theirs.port, ours.port] * 4
    assert [sample.cpu for sample in found.nginx] == pytest.approx([100.0] * 3)
    assert [sample.cpu for sample in found.ours] == pytest.approx([200.0] * 3)
    assert [sample.worker for sample in found.ours] == pytest.approx([100.0] * 3)


def test_a_ratio_is_of_two_turns_one_behind_the_other() -> None:
    row = Row("plain", "a title", 0.95)
    theirs = [Sample(20.0, 1.0, 0), Sample(40.0, 1.0, 0), Sample(10.0, 1.0, 1)]
    ours = [Sample(18.0, 0.9, 0, 17.0), Sample(40.0, 0.9, 0, 39.0), Sample(9.5, 0.9, 0, 9.0)]
    assert Found(row, theirs, ours).ratios == [0.9, 1.0, 0.95]
    line = render([Found(row, theirs, ours)]).splitlines()[-1]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        *("plain", "a title", "20.0", "18.0", "0.95", "0.90", "1.00", "0.95", "reached", "90%", "1", "17.0")
    ]
