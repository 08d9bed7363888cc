"""The supervisor with real processes that start quickly: they come back, are found again, and are stopped only when they may be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from crossfade_backends import processes
from crossfade_backends import supervisor as supervisor_module
from crossfade_backends.deployments import (
    SEEN,
    TOKEN,
    Routing,
    Seen,
    Wanted,
    change_wanted,
    folder_of,
    read_seen,
    read_wanted,
)
from crossfade_backends.locks import try_lock
from crossfade_backends.processes import Identity, identity_of, is_alive, marked, send
from crossfade_backends.supervisor import CALM_AFTER, HUNG_AFTER, LONGEST_WAIT, MARK, Supervisor
from loadtests.ports import free_port

TIMEOUT = 60.0


def quick(root: Path, wanted: Wanted, port: int) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("replica.py")), str(port)]


def broken(root: Path, wanted: Wanted, port: int) -> list[str]:
    return [sys.executable, "-c", "import sys; sys.exit('error: no such model')"]


class Clock:
    """Real time, and what is added."""

    def __init__(self) -> None:
        self.added = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.added


class Scene:
    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.command: Callable[[Path, Wanted, int], list[str]] = quick
        self.supervisors: list[
            Supervisor
        ] = []  # those before keep their children, as a test cannot kill itself

    def want(self, replicas: int, routing: Routing | None = None) -> None:
        new = Wanted(name="churn", version="v3", replicas=replicas, routing=routing)
        change_wanted(self.folder, lambda now: new.model_copy(update={"number": now.number if now else 1}))

    def begin(self) -> Supervisor:
        self.supervisor = Supervisor(self.folder, self.command, self.clock)
        self.supervisors.append(self.supervisor)
        return self.supervisor

    def until(self, condition: Callable[[Seen], Any]) -> Seen:
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            self.supervisor.look()
            if condition(seen := read_seen(self.folder)):
                return seen
            time.sleep(0.01)
        raise AssertionError(f"did not happen: {read_seen(self.folder)}")

    def settled(self) -> Seen:
        wanted = read_wanted(self.folder)
        assert wanted is not None
        return self.until(lambda seen: seen.number == wanted.number and seen.settled)

    def pids(self) -> list[int]:
        return [one.pid for one in read_seen(self.folder).replicas]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(folder_of(tmp_path, "churn", "v3"))
    yield scene
    for process in marked(MARK).values():
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        if str(scene.folder).encode() in environment:
            send(process, signal.SIGKILL)
    for supervisor in scene.supervisors:
        for child in supervisor.children.values():
            child.wait()


def test_what_is_wanted_runs_and_what_is_killed_comes_back_at_its_address(scene: Scene):
    scene.want(2)
    scene.begin()
    before = scene.settled()
    urls = [one.url for one in before.replicas]
    assert len(set(urls)) == 2
    os.kill(before.replicas[0].pid, signal.SIGKILL)
    after = scene.until(lambda seen: seen.settled and seen.replicas[0].restarts == 1)
    assert [one.url for one in after.replicas] == urls
    assert after.replicas[0].pid != before.replicas[0].pid
    assert after.replicas[1] == before.replicas[1]
    assert (scene.folder / "replica-1.before.log").exists()


def has_failed(times: int, seen: Seen) -> bool:
    return [one.failures for one in seen.replicas] == [times]


def test_a_log_that_grows_is_begun_anew_and_its_replica_is_still_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor_module, "LARGEST_LOG", 1000)
    scene.want(1)
    scene.begin()
    one = scene.settled().replicas[0]
    log = scene.folder / "replica-1.log"
    with log.open("ab") as file:
        file.write(b"a line\n" * 1000)
    scene.clock.added += 10
    scene.until(lambda seen: log.stat().st_size == 0)
    assert (scene.folder / "replica-1.before.log").stat().st_size > 7000
    scene.begin()
    after = scene.settled().replicas[0]
    assert (after.url, after.pid) == (one.url, one.pid)
    ask(f"{one.url}/health?said")
    assert log.read_text() == "asked\n"  # it goes on at the end


def ask(url: str) -> None:
    with urlopen(url, timeout=TIMEOUT):
        return


def test_what_keeps_ending_is_started_less_and_less_often(scene: Scene):
    scene.command = broken
    scene.want(1)
    supervisor = scene.begin()
    waits = []
    for failures in range(1, 10):
        seen = scene.until(partial(has_failed, failures))
        waits.append(supervisor.replicas[1].again_at - supervisor.replicas[1].since)
        assert seen.replicas[0].note.endswith("times in a row: error: no such model")
        assert not seen.settled
        scene.clock.added += LONGEST_WAIT
    assert [round(wait, 3) for wait in waits] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    supervisor.command = quick
    seen = scene.settled()
    assert seen.replicas[0].failures == 9
    scene.clock.added += CALM_AFTER + 1
    assert scene.until(lambda seen: seen.replicas[0].failures == 0).replicas[0].restarts == 9


def test_a_supervisor_that_was_killed_is_followed_by_one_that_finds_its_replicas(scene: Scene):
    scene.want(2)
    scene.begin()
    pids = [one.pid for one in scene.settled().replicas]
    scene.begin()
    assert [one.pid for one in scene.settled().replicas] == pids
    # One that was killed before it could write down what it had started.
    (scene.folder / SEEN).unlink()
    scene.begin()
    assert [one.pid for one in scene.settled().replicas] == pids
    # Meanwhile a replica has ended.
    os.kill(pids[1], signal.SIGKILL)
    scene.begin()
    after = scene.settled().replicas
    assert after[0].pid == pids[0] and after[1].pid not in pids
    assert scene.supervisor.children.keys() == {after[1].pid}


def test_fewer_are_wanted_and_then_none(scene: Scene):
    scene.want(3)
    scene.begin()
    first, *others = [Identity(one.pid, started_of(one.pid)) for one in scene.settled().replicas]
    scene.want(1)
    assert [one.id for one in scene.settled().replicas] == [1]
    assert is_alive(first) and not any(map(is_alive, others))
    scene.want(0)
    scene.until(lambda seen: not seen.replicas)
    assert not is_alive(first)
    assert scene.supervisor.look() is False
    (scene.folder / "wanted.json").unlink()
    assert Supervisor(scene.folder, quick).look() is False


def started_of(pid: int) -> int:
    found = identity_of(pid)
    assert found is not None
    return found.started


def test_another_port_where_the_old_one_is_taken(scene: Scene):
    scene.want(1)
    scene.begin()
    one = scene.settled().replicas[0]
    port = int(one.url.rpartition(":")[2])
    os.kill(one.pid, signal.SIGSTOP)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.kill(one.pid, signal.SIGKILL)
        scene.until(lambda seen: seen.replicas[0].state == "waiting")
        scene.clock.added = -1000.0  # nothing is started before the port is taken
        thief.bind(("127.0.0.1", port))
        thief.listen()
        scene.clock.added = 0.0
        after = scene.settled().replicas[0]
    assert after.url != one.url
    assert after.restarts == 2


def test_a_replica_that_hangs_is_started_again(scene: Scene):
    scene.want(1)
    scene.begin()
    one = scene.settled().replicas[0]
    os.kill(one.pid, signal.SIGSTOP)
    scene.clock.added += HUNG_AFTER + 5
    after = scene.until(lambda seen: seen.settled and seen.replicas[0].pid not in (0, one.pid))
    assert (after.replicas[0].url, after.replicas[0].restarts) == (one.url, 1)


def test_a_replica_that_does_not_end_is_killed(scene: Scene):
    scene.want(2)
    scene.begin()
    pid = scene.settled().replicas[1].pid
    os.kill(pid, signal.SIGSTOP)  # TERM waits until it goes on
    scene.want(1)
    scene.until(lambda seen: seen.replicas[-1].state == "leaving")
    scene.supervisor.look()
    scene.clock.added += 100
    assert len(scene.settled().replicas) == 1


def test_without_an_answer_of_the_proxy_no_replica_is_stopped(scene: Scene, tmp_path: Path):
    file = tmp_path / "routing.yaml"
    scene.want(2)
    scene.begin()
    urls = [one.url for one in scene.settled().replicas]
    file.write_text(f"backends: {{churn-v3: {{endpoints: [{', '.join(urls)}]}}}}\n")
    nobody = Routing(admin=f"http://127.0.0.1:{free_port()}", file=file, backend="churn-v3")
    scene.want(2, nobody)
    assert [
        one.served for one in scene.settled().replicas
    ] == urls  # they are in the file: there is nothing to ask
    scene.want(1, nobody)
    scene.until(lambda seen: "does not answer" in seen.note and seen.replicas[1].state == "leaving")
    for _ in range(20):
        scene.supervisor.look()
    assert identity_of(scene.pids()[1])
    scene.want(2, nobody)  # as it was
    assert [one.url for one in scene.settled().replicas] == urls
    scene.want(1)  # no proxy any more
    assert len(scene.settled().replicas) == 1


def test_a_replica_does_not_get_the_token_of_the_admin_api(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(TOKEN, "an-operators-token")
    scene.want(1)
    assert scene.begin().serving.token == "an-operators-token"
    pid = scene.settled().replicas[0].pid
    assert b"an-operators-token" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert b"an-operators-token" not in b"".join(
        path.read_bytes() for path in scene.folder.iterdir() if path.is_file()
    )


def test_a_process_is_known_by_its_start(monkeypatch: pytest.MonkeyPatch):
    here = identity_of(os.getpid())
    assert here is not None and is_alive(here)
    other = Identity(here.pid, here.started - 1)
    assert not is_alive(other)
    send(other, signal.SIGKILL)  # it is another process that had this number
    assert identity_of(2**22 + 1) is None
    send(Identity(2**22 + 1, 1), signal.SIGKILL)
    assert processes.marked("A_NAME_THAT_NOBODY_HAS") == {}


def test_the_child_of_a_replica_is_no_replica(monkeypatch: pytest.MonkeyPatch):
    code = "import os, time; os.fork(); time.sleep(100)"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"A_MARK": "one"}, start_new_session=True
    ) as parent:
        end = time.monotonic() + TIMEOUT
        while len(list(Path("/proc").glob(f"{parent.pid}/task/*/children"))) and time.monotonic() < end:
            if Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().strip():
                break
            time.sleep(0.01)
        try:
            assert marked("A_MARK")["one"].pid == parent.pid
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


def test_what_the_machine_refuses_may_pass(scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys):
    scene.want(1)
    supervisor = scene.begin()
    looks = iter([None, None, True, False])

    def look() -> bool:
        if (found := next(looks)) is None:
            raise OSError("No space left on device")
        return found

    monkeypatch.setattr(supervisor, "look", look)
    monkeypatch.setattr(supervisor_module, "AGAIN", 0.0)
    supervisor.run()
    assert capsys.readouterr().out == "cannot go on, and tries again: No space left on device\n"


def test_an_odd_file_or_answer_ends_no_supervisor(scene: Scene, tmp_path: Path):
    file = tmp_path / "routing.yaml"
    nobody = Routing(admin=f"http://127.0.0.1:{free_port()}", file=file, backend="churn-v3")
    scene.want(1, nobody)
    scene.begin()
    for text, problem in (
        ("[1]", "is no mapping"),
        (None, "cannot be read"),
        ("backends: 7", "is not as expected"),
    ):
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        scene.clock.added += 10
        scene.until(lambda seen, problem=problem: problem in seen.note)  # type: ignore[misc]
    assert identity_of(scene.pids()[0])


def test_there_is_one_supervisor(tmp_path: Path):
    held = try_lock(tmp_path / "lock")
    assert held is not None
    assert try_lock(tmp_path / "lock") is None
    os.close(held)
    again = try_lock(tmp_path / "lock")
    assert again is not None
    os.close(again)
