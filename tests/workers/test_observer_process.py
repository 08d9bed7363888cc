"""The observer beside the workers: it reads, and when it ends or hangs, serving goes on and what it had is counted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from pyarrow.parquet import read_table

from crossfade.observer.messages import Observed
from crossfade.quality.keep import Keep
from crossfade.quality.logged import outputs_in
from crossfade.quality.prediction import Prediction
from crossfade.quality.samples import encode
from crossfade.workers import observer_process
from crossfade.workers.observer_process import ObserverProcess
from tests.dataplane.plane import SNAPSHOT, route
from tests.observer.test_answers import sampled
from tests.observer.test_pairs import pair as compared
from tests.observer.test_pairs import raw

READING = replace(SNAPSHOT, routes=(route("v2", prediction=Prediction(("p",))),))


@pytest.fixture
async def observer() -> AsyncIterator[ObserverProcess]:
    made = ObserverProcess()
    running = asyncio.ensure_future(made.run())
    yield made
    made.stop()
    await running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def started(observer: ObserverProcess) -> int:
    observer.use(READING)
    await until(lambda: observer.writer is not None)
    assert observer.process is not None
    return observer.process.pid


async def read(observer: ObserverProcess, n: int = 3) -> Observed:
    """What it says of so many answers."""
    observer.read(encode([sampled()] * n), n)
    total = Observed()

    def is_all() -> bool:
        total.add(observer.take())
        return not observer.pending

    await until(is_all)
    return total


async def test_no_process_runs_while_no_route_reads_answers(observer: ObserverProcess) -> None:
    observer.use(SNAPSHOT)
    await asyncio.sleep(0.05)
    assert observer.process is None


async def test_it_reads_in_a_process_of_its_own(observer: ObserverProcess) -> None:
    assert await started(observer) != os.getpid()
    found = await read(observer)
    assert [len(cell.keyed_scores) for cell in found.counts.cells] == [3]
    assert (len(found.observations), found.counts.dropped) == (3, {})


async def test_a_reload_changes_how_answers_are_read(observer: ObserverProcess) -> None:
    await started(observer)
    observer.use(replace(READING, routes=(route("v2", prediction=Prediction(("q",))),)))
    assert (await read(observer)).counts.dropped == {"unreadable": 3}


async def test_after_its_death_another_reads_and_what_it_had_is_dropped(
    observer: ObserverProcess, caplog: pytest.LogCaptureFixture
) -> None:
    pid = await started(observer)
    os.kill(pid, signal.SIGSTOP)  # so that it has the samples, and does not read them
    observer.read(encode([sampled()] * 5), 5)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: observer.writer is None)
    observer.read(encode([sampled()] * 2), 2)
    await until(lambda: observer.writer is not None)
    assert observer.process is not None and observer.process.pid != pid
    assert observer.take().counts.dropped == {"observer": 7}
    assert [len(cell.keyed_scores) for cell in (await read(observer)).counts.cells] == [3]
    assert observer.restarts == 1
    assert "5 samples are lost" in caplog.text


async def test_one_that_hangs_is_replaced(
    observer: ObserverProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pid = await started(observer)
    await read(observer)
    monkeypatch.setattr(observer_process, "SILENCE", 0.2)
    os.kill(pid, signal.SIGSTOP)
    observer.read(encode([sampled()]), 1)
    await until(lambda: observer.restarts == 1)
    assert "hangs: no answer" in caplog.text
    monkeypatch.setattr(observer_process, "SILENCE", 30.0)
    await until(lambda: observer.writer is not None)
    assert (await read(observer)).observations


async def test_what_one_that_lags_has_no_room_for_is_dropped(
    observer: ObserverProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer_process, "WAITING", 100_000)
    pid = await started(observer)
    await read(observer)
    os.kill(pid, signal.SIGSTOP)
    large = encode([sampled(b" " * 60_000)])
    for _ in range(20):
        observer.read(large, 1)
    dropped = observer.take().counts.dropped["observer"]
    assert 0 < dropped < 20
    assert observer.pending == 20 - dropped
    os.kill(pid, signal.SIGCONT)
    await until(lambda: not observer.pending)


async def test_at_the_end_it_reads_what_it_has_and_finishes_its_files(
    observer: ObserverProcess, tmp_path: Path
) -> None:
    kept = replace(READING.routes[0], keep=Keep(str(tmp_path), 2**20, parquet=True))
    observer.use(replace(READING, routes=(kept,)))
    await until(lambda: observer.writer is not None)
    observer.read(encode([compared(b'{"p": 0.6}', raw(b'{"p": 0.4}'))] * 3), 3)
    observer.stop()
    observer.read(encode([sampled()]), 1)
    observer.use(READING)
    await until(lambda: observer.process is not None and observer.process.returncode is not None)
    (name,) = os.listdir(tmp_path)
    assert (name[-8:], read_table(tmp_path / name).num_rows) == (".parquet", 3)
    total = observer.take()
    assert (total.n, total.counts.dropped) == (3, {"observer": 1})


async def test_one_that_does_not_end_is_killed(
    observer: ObserverProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(observer_process, "ENDING", 0.1)
    os.kill(await started(observer), signal.SIGSTOP)
    observer.stop()
    await until(lambda: observer.process is not None and observer.process.returncode is not None)
    assert "does not end; killing it" in caplog.text


async def test_one_that_is_told_to_end_while_it_starts_ends(observer: ObserverProcess) -> None:
    observer.use(READING)
    await until(lambda: observer.process is not None)
    observer.stop()
    await until(lambda: observer.process is not None and observer.process.returncode is not None)


async def test_outputs_for_the_prediction_log_wait_in_bounded_room(observer: ObserverProcess) -> None:
    """Also where nobody takes what was observed, as while the state cannot be opened."""
    observer.use(replace(READING, routes=(replace(READING.routes[0], logs=True),)))
    await until(lambda: observer.writer is not None)
    found = await read(observer)
    (batch,) = observer.logged.take().batches
    assert ([output.score for output in outputs_in(batch)], found.outputs) == ([0.25] * 3, [])
    observer.logged.most = batch.size
    for _ in range(4):
        observer.read(encode([sampled()] * 3), 3)
    await until(lambda: not observer.pending)
    taken = observer.logged.take()
    assert ([each.n for each in taken.batches], taken.dropped) == ([3], {"churn": 9})
