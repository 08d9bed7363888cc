"""The demo ends by a signal or because one of its processes did, and leaves neither a process nor a folder."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.console import Console

from crossfade.demo.processes import DemoProcesses
from crossfade.demo.tour import Tour
from crossfade.demo.traffic import Traffic

TIMEOUT = 60.0
# The demo as it is, with another story: one that needs no models.
DEMO = """
import json, signal, sys, time
from crossfade.demo import main
from crossfade.demo.processes import DemoProcesses

async def story(folder, console, keep):
    async with DemoProcesses(folder) as processes:
        if not keep:
            await processes.train()
        await processes.start("model-v2", "fake_model", "first")
        await processes.start("proxy", "fake_model", "second")
        if "broken" in sys.argv:
            processes.processes[-1].process.kill()
            await processes.status()
        for pid in [word for word in sys.argv if word.isdigit()]:
            version = processes.registry / "churn" / "r1"
            version.mkdir(parents=True)
            (version / "metadata.json").write_text(json.dumps({"tags": {"pid": pid}}))
            (version / "server.log").write_text("loaded what was trained")
        return await main._summary(processes, console, [("one", "1", True)], 1, time.monotonic(), keep)

if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
main.run_demo = story
sys.exit(main.main("rollouts", "keep" in sys.argv))
"""
# It says that it was told to end, and ends once it may.
MODEL = """
import pathlib, signal, sys, time
def told(*_):
    (told_to_end / sys.argv[1]).touch()
    while not (told_to_end / "may").exists():
        time.sleep(0.01)
    sys.exit(0)
told_to_end = pathlib.Path(__file__).parent / "told"
signal.signal(signal.SIGTERM, told)
print("loaded the model", sys.argv[1], flush=True)
while True:
    time.sleep(3600)
"""
ENDLESS = "import time\nwhile True: time.sleep(3600)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo makes its own; it has modules that shadow what the demo starts."""
    (tmp_path / "crossfade_backends").mkdir()
    (tmp_path / "crossfade_backends" / "__init__.py").touch()
    (tmp_path / "crossfade_backends" / "train.py").write_text(ENDLESS)
    (tmp_path / "endless.py").write_text(ENDLESS)
    (tmp_path / "fake_model.py").write_text(MODEL)
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "may").touch()
    return tmp_path


@asynccontextmanager
async def demo(folder: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    process = await asyncio.create_subprocess_exec(
        # Also where the tests run under nohup: a hang-up that the parent ignores is ignored by the demo too.
        *("env", "--default-signal=HUP", sys.executable, "-u", "-c", DEMO, *words),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": path, "COLUMNS": "200"},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            yield process
        assert not _folders_in(folder)
        assert not _children_in(folder)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def _until_kept(process: asyncio.subprocess.Process, folder: Path) -> None:
    """The demo waits, and its processes have said something."""
    assert process.stdout is not None
    while b"in a browser" not in (line := await process.stdout.readline()):
        assert line
    while len([log for made in _folders_in(folder) for log in made.glob("*.log") if log.read_text()]) < 2:
        await asyncio.sleep(0.01)


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, str(folder / "endless.py"))
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _folders_in(folder: Path) -> list[Path]:
    return list(folder.glob("crossfade-demo-*"))


def _children_in(folder: Path) -> dict[int, str]:
    """Pid → command line, of what the demo has started: the folder is theirs, or in an argument."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            if str(folder) in f"{words} {(path / 'cwd').readlink()}":
                found[int(path.name)] = words
    return found


async def _child(folder: Path, word: str) -> int:
    """The pid of the one with this word, once it is there."""
    while not (found := [pid for pid, words in _children_in(folder).items() if word in words]):
        await asyncio.sleep(0.01)
    return found[0]


async def _shown_after_the_end(folder: Path, word: str, sign: signal.Signals) -> str:
    """What `demo --keep` shows when the process with this word gets this signal."""
    async with demo(folder, "keep") as process:
        await _until_kept(process, folder)
        os.kill(await _child(folder, word), sign)
        shown = (await process.communicate())[0].decode()
        assert process.returncode == 1
    return shown


async def test_with_keep_it_says_which_process_has_ended_with_the_end_of_its_log(folder: Path) -> None:
    shown = await _shown_after_the_end(folder, "first", signal.SIGKILL)
    assert "model-v2 was ended by SIGKILL\n--- model-v2.log\nloaded the model first\n" in shown
    assert "proxy" not in shown[shown.index("crossfade demo:") :]


async def test_with_keep_an_end_by_itself_is_one_too(folder: Path) -> None:
    shown = await _shown_after_the_end(folder, "second", signal.SIGTERM)
    assert "proxy has ended with exit code 0\n--- proxy.log\nloaded the model second\n" in shown


async def test_with_keep_the_end_of_a_server_that_the_demo_did_not_start_itself_is_one_too(
    folder: Path,
) -> None:
    async with _server(folder) as server, demo(folder, "keep", str(server.pid)) as process:
        await _until_kept(process, folder)
        server.kill()
        shown = (await process.communicate())[0].decode()
        assert process.returncode == 1
    assert "crossfade demo: model-r1 has ended\n--- server.log\nloaded what was trained\n" in shown


async def test_a_server_that_the_demo_did_not_start_itself_ends_with_it(folder: Path) -> None:
    async with _server(folder) as server, demo(folder, "keep", str(server.pid)) as process:
        await _until_kept(process, folder)
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0
        assert await server.wait() == -signal.SIGTERM


async def test_a_request_that_finds_nobody_is_told_with_the_process_that_has_ended(folder: Path) -> None:
    async with demo(folder, "broken", "keep") as process:
        shown = (await process.communicate())[0].decode()
        assert process.returncode == 1
    assert "crossfade demo: Cannot connect to host 127.0.0.1:" in shown
    assert "proxy was ended by SIGKILL\n--- proxy.log" in shown
    assert "model-v2" not in shown


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_with_keep_each_signal_ends_it_with_the_result_of_its_checks(
    folder: Path, sign: signal.Signals
) -> None:
    async with demo(folder, "keep") as process:
        await _until_kept(process, folder)
        process.send_signal(sign)
        assert b"has ended" not in (await process.communicate())[0]
        assert process.returncode == 0


async def test_ctrl_c_that_reaches_all_of_a_terminal_is_no_end_of_a_process(folder: Path) -> None:
    async with demo(folder, "keep") as process:
        await _until_kept(process, folder)
        os.killpg(process.pid, signal.SIGINT)
        assert b"ended" not in (await process.communicate())[0]
        assert process.returncode == 0


async def test_further_signals_wait_until_all_has_ended(folder: Path) -> None:
    (folder / "told" / "may").unlink()
    async with demo(folder, "keep") as process:
        await _until_kept(process, folder)
        process.send_signal(signal.SIGTERM)
        while len(list((folder / "told").iterdir())) < 2:
            await asyncio.sleep(0.01)
        for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            process.send_signal(sign)
        (folder / "told" / "may").touch()
        await process.communicate()
        assert process.returncode == 0


async def test_a_first_signal_while_it_ends_is_no_reason_to_leave_anything(folder: Path) -> None:
    """The process that ended is why it ends; the other one is still at it when the signal comes."""
    (folder / "told" / "may").unlink()
    async with demo(folder, "keep") as process:
        await _until_kept(process, folder)
        os.kill(await _child(folder, "first"), signal.SIGKILL)
        while not (folder / "told" / "second").exists():
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for _ in range(50):
            assert process.returncode is None
            await asyncio.sleep(0.01)
        (folder / "told" / "may").touch()
        await process.communicate()
        assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_training_under_way_ends_with_it(folder: Path, sign: signal.Signals) -> None:
    async with demo(folder) as process:
        await _child(folder, "crossfade_backends.train")
        process.send_signal(sign)
        await process.communicate()
        assert process.returncode == 128 + sign


async def test_under_nohup_a_closed_terminal_does_not_end_it(folder: Path) -> None:
    async with demo(folder, "nohup") as process:
        await _child(folder, "crossfade_backends.train")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 128 + signal.SIGTERM


async def test_a_command_of_the_tour_ends_when_the_tour_does(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    processes = DemoProcesses(folder)
    tour = Tour(processes, Traffic(processes.url), Console(file=io.StringIO()))
    running = asyncio.create_task(tour.run("endless"))
    await _child(folder, "endless")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert not _children_in(folder)


async def test_commands_go_on_after_the_terminal_is_closed(tmp_path: Path) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(5, "Input/output error")

    processes = DemoProcesses(tmp_path)
    tour = Tour(processes, Traffic(processes.url), Console(file=Closed()))
    assert (await tour.run("crossfade", "version"))[0] == 0
