from __future__ import annotations

import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from loadtests.accounting import process_tree, processes
from loadtests.processes import BenchError, child, wait_until_answering
from loadtests.work import Cores, pick_cores

# A child whose own child ignores TERM.
IGNORES_TERM = """
import signal, subprocess, sys
inner = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(99)"
child = subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
child.wait()
"""


def wait_for_text(log: Path, text: str) -> None:
    pause = threading.Event()
    for _ in range(400):
        if text in log.read_text():
            return
        pause.wait(0.05)
    raise AssertionError(f"{text!r} was not printed: {log.read_text()}")


def test_all_processes_have_ended_after_an_exception_in_the_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    members: set[int] = set()
    with (
        pytest.raises(KeyboardInterrupt),
        child([sys.executable, "-c", IGNORES_TERM], frozenset(), log) as process,
    ):
        wait_for_text(log, "ready")
        members = process_tree(process.pid, processes())
        raise KeyboardInterrupt
    assert len(members) == 2
    left = {pid: each for pid, each in processes().items() if pid in members}
    assert not [pid for pid in left if not is_zombie(pid)]


def is_zombie(pid: int) -> bool:
    return " Z " in Path(f"/proc/{pid}/stat").read_text()


def test_a_child_is_pinned_to_its_cores(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    log = tmp_path / "log"
    script = "import os, time; print('on', *os.sched_getaffinity(0), 'only', flush=True); time.sleep(99)"
    with child([sys.executable, "-c", script], frozenset({core}), log):
        wait_for_text(log, f"on {core} only")


@pytest.mark.parametrize(
    ("available", "cores"),
    [
        ({3}, Cores(frozenset(), frozenset())),
        ({0, 1}, Cores(frozenset({0}), frozenset({1}))),
        ({7, 2, 5}, Cores(frozenset({2}), frozenset({5}))),
    ],
)
def test_proxy_and_load_get_separate_cores_if_there_are_two(available: set[int], cores: Cores) -> None:
    assert pick_cores(available) == cores


def test_waiting_stops_with_the_output_if_the_process_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with (
            child([sys.executable, "-c", "print('broken config')"], frozenset(), log) as process,
            pytest.raises(BenchError, match="broken config"),
        ):
            wait_until_answering(process, held.getsockname()[1], log)


def test_waiting_ends_with_the_first_200(tmp_path: Path) -> None:
    statuses: list[int] = []

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            statuses.append(200 if len(statuses) == 2 else 503)
            self.send_response(statuses[-1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    log = tmp_path / "log"
    with HTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with child([sys.executable, "-c", "import time; time.sleep(99)"], frozenset(), log) as process:
            wait_until_answering(process, server.server_port, log)
        server.shutdown()
        thread.join()
    assert statuses == [503, 503, 200]
