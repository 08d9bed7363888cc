"""Keeps the replicas of one version running: `python -m crossfade_backends.supervisor REGISTRY/.deployments/MODEL-VERSION`.

It is started by `python -m crossfade_backends.models` and outlives it. What it should do is in `wanted.json`, and each look begins with
what there is: a supervisor that was killed is followed by another one that finds its replicas again, by a mark in their
environment. They go on serving meanwhile.

Rule: a replica is stopped only when the proxy has sent it its last request: drained, empty, out of the routing file, TERM.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from crossfade_backends import processes
from crossfade_backends.deployments import (
    SEEN,
    TOKEN,
    Replica,
    Seen,
    Wanted,
    read_seen,
    read_wanted,
    replace,
)
from crossfade_backends.locks import try_lock
from crossfade_backends.processes import Identity
from crossfade_backends.registry import RegistryError
from crossfade_backends.scaling import Scaling
from crossfade_backends.server_process import answers, server_command, url_said
from crossfade_backends.serving import Serving

MARK = "CROSSFADE_REPLICA"
TICK = 0.1  # seconds between two looks
AGAIN = 1.0  # seconds, after one that the machine did not let it end
PATIENCE = 2.0  # seconds for an answer of a replica
START_LIMIT = 120.0  # loading imports scikit-learn
HUNG_AFTER = 30.0  # seconds without an answer of /live
LOOK_AGAIN = 2.0  # seconds between two questions to a replica that is up
FIRST_WAIT, LONGEST_WAIT = (
    0.5,
    30.0,
)  # seconds before a replica that ended is started again; doubled each time
CALM_AFTER = 60.0  # a replica that was up for so long begins with the first wait again
LARGEST_LOG = 16 << 20  # bytes, and as many of what was said before
STOP_LIMIT = 30.0  # then KILL; longer than a model server finishes its requests

Command = Callable[[Path, Wanted, int], list[str]]


def replica_command(root: Path, wanted: Wanted, port: int) -> list[str]:
    return server_command(root, wanted.name, wanted.version, wanted.host, port)


class Watched:
    """A replica with its process. Times are of the clock of the supervisor."""

    def __init__(self, shown: Replica, now: float) -> None:
        self.shown = shown
        self.process: Identity | None = None
        self.since = now  # of its state
        self.again_at = now
        self.answered_at = self.asked_at = now
        self.found_at = (
            ""  # of one found again, which may have written so much that its log no longer says it
        )
        self.told_to_stop = False
        self.killed = False

    def enter(self, state: str, now: float) -> None:
        self.shown.state = state  # type: ignore[assignment]
        self.since = self.answered_at = now


class Supervisor:
    """`folder`: of the deployment. `command`: what a replica runs."""

    def __init__(
        self,
        folder: Path,
        command: Command = replica_command,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.command, self.clock = folder.resolve(), command, clock
        self.root = self.folder.parent.parent
        self.seen = read_seen(self.folder)
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        self.serving = Serving(self.folder, os.environ.get(TOKEN, ""))
        self.scaling = Scaling(self.folder)
        self.replicas = self._found_again()

    def _found_again(self) -> dict[int, Watched]:
        """Those of the supervisor before, and processes that it started and had no time to write down."""
        now = self.clock()
        found = {one.id: Watched(one.model_copy(), now) for one in self.seen.replicas}
        prefix = f"{self.folder}:"
        for mark, process in processes.marked(MARK).items():
            if mark.startswith(prefix):
                number = int(mark.removeprefix(prefix))
                watched = found.setdefault(number, Watched(Replica(id=number, state="starting"), now))
                watched.process, watched.found_at = process, watched.shown.url
        for watched in found.values():
            watched.shown.pid = watched.process.pid if watched.process else 0
            leaves = watched.shown.state == "leaving"
            watched.shown.state = "leaving" if leaves else "starting" if watched.process else "waiting"
        return found

    def run(self) -> None:
        """Until nothing is wanted any more. A full disk, and a process that cannot be started, may pass."""
        goes_on, said = True, ""
        while goes_on:
            try:
                goes_on = self.look()
                time.sleep(TICK)
            except OSError as error:
                if str(error) != said:
                    said = str(error)
                    print(f"cannot go on, and tries again: {said}", flush=True)
                time.sleep(AGAIN)

    def look(self) -> bool:
        """False when nothing is wanted any more, and nothing is left."""
        wanted = read_wanted(self.folder)
        if wanted is None:
            return False
        self._balance(wanted)
        for watched in list(self.replicas.values()):
            self._advance(wanted, watched)
        shown = [self.replicas[number].shown for number in sorted(self.replicas)]
        note = self.serving.look(wanted.routing, shown, self.clock())
        settled = not note and len(shown) == wanted.replicas and all(one.state == "up" for one in shown)
        scaled = self.scaling.look(wanted, shown, self.serving.client, self.clock()) or self.seen.scaled
        self._show(Seen(number=wanted.number, settled=settled, replicas=shown, note=note, scaled=scaled))
        return bool(wanted.replicas or self.replicas)

    def _show(self, seen: Seen) -> None:
        if seen != self.seen:
            self.seen = seen.model_copy(deep=True)
            replace(self.folder / SEEN, seen.model_dump_json(indent=2))

    def _balance(self, wanted: Wanted) -> None:
        """Replicas 1..N are wanted; those above leave."""
        now = self.clock()
        for number in range(1, wanted.replicas + 1):
            watched = self.replicas.setdefault(number, Watched(Replica(id=number, state="waiting"), now))
            if watched.shown.state == "leaving" and not watched.told_to_stop:
                watched.enter("starting" if watched.process else "waiting", now)
        for number, watched in self.replicas.items():
            if number > wanted.replicas and watched.shown.state != "leaving":
                watched.enter("leaving", now)

    def _advance(self, wanted: Wanted, watched: Watched) -> None:
        now, one = self.clock(), watched.shown
        if watched.process and not self._is_alive(watched.process):
            self._ended(watched, now)
        if one.state == "waiting" and now >= watched.again_at:
            self._start(wanted, watched)
        elif one.state == "starting":
            self._look_at_start(watched, now)
        elif one.state == "up":
            self._look_at_life(watched, now)
        elif one.state == "leaving":
            self._leave(watched, now)

    def _is_alive(self, process: Identity) -> bool:
        child = self.children.get(process.pid)
        if child is not None and child.poll() is not None:
            del self.children[process.pid]
        return processes.is_alive(process)

    def _ended(self, watched: Watched, now: float) -> None:
        one = watched.shown
        watched.process, one.pid = None, 0
        if one.state == "leaving":
            return
        was_calm = one.state == "up" and now - watched.since >= CALM_AFTER
        one.failures = 1 if was_calm else one.failures + 1
        one.restarts += 1
        wait = min(FIRST_WAIT * 2 ** min(one.failures - 1, 16), LONGEST_WAIT)
        one.note = f"ended, {one.failures} times in a row: {_last_line(self._log(one.id))}"
        watched.again_at = now + wait
        watched.enter("waiting", now)
        print(f"replica {one.id} {one.note}; started again in {wait:g} s", flush=True)

    def _log(self, number: int) -> Path:
        return self.folder / f"replica-{number}.log"

    def _start(self, wanted: Wanted, watched: Watched) -> None:
        """On the port that it had, so that the routing file stays as it is; the system chooses the first one, and another one if that is taken."""
        one, now = watched.shown, self.clock()
        port = int(one.url.rpartition(":")[2]) if one.url and "cannot listen" not in one.note else 0
        log = self._log(one.id)
        if log.exists():
            log.replace(_before(log))
        environment = {name: value for name, value in os.environ.items() if name != TOKEN}
        with log.open("ab") as output:
            child = subprocess.Popen(
                self.command(self.root, wanted, port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment | {MARK: f"{self.folder}:{one.id}"},
            )
        self.children[child.pid] = child
        watched.process = processes.identity_of(child.pid) or Identity(child.pid, -1)
        watched.told_to_stop = watched.killed = False
        watched.found_at = ""
        one.pid = child.pid
        watched.enter("starting", now)

    def _look_at_start(self, watched: Watched, now: float) -> None:
        one = watched.shown
        url = url_said(self._log(one.id)) or watched.found_at
        if url and answers(f"{url}/health", PATIENCE):
            one.url, one.note = url, ""
            watched.enter("up", now)
            print(f"replica {one.id} is up: {one.url}, process {one.pid}", flush=True)
        elif now - watched.since > START_LIMIT and watched.process:
            processes.send(watched.process, signal.SIGKILL)

    def _look_at_life(self, watched: Watched, now: float) -> None:
        if now - watched.asked_at < LOOK_AGAIN:
            return
        watched.asked_at = now
        if now - watched.since >= CALM_AFTER:
            watched.shown.failures = 0
        _keep_small(self._log(watched.shown.id))
        if answers(f"{watched.shown.url}/live", PATIENCE):
            watched.answered_at = now
        elif now - watched.answered_at > HUNG_AFTER and watched.process:
            print(f"replica {watched.shown.id} does not answer for {HUNG_AFTER:g} s", flush=True)
            processes.send(watched.process, signal.SIGKILL)

    def _leave(self, watched: Watched, now: float) -> None:
        one = watched.shown
        if watched.process is None:
            if not one.served:
                del self.replicas[one.id]
        elif not one.served and not watched.told_to_stop:  # the routing file has it no more
            processes.send(watched.process, signal.SIGTERM)
            watched.told_to_stop, watched.since = True, now
        elif watched.told_to_stop and now - watched.since > STOP_LIMIT and not watched.killed:
            processes.send(watched.process, signal.SIGKILL)
            watched.killed = True


def _before(log: Path) -> Path:
    return log.with_suffix(".before.log")


def _keep_small(log: Path) -> None:
    """What it said so far goes to the file before; the replica goes on writing at the end of an empty one."""
    try:
        if log.stat().st_size > LARGEST_LOG:
            shutil.copyfile(log, _before(log))
            os.truncate(log, 0)
    except OSError as error:
        print(f"{log} grows: {error}", flush=True)


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "no log"
    return lines[-1][:300] if lines else "it said nothing"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m crossfade_backends.supervisor", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--lock", type=int, metavar="FD", help="of whoever starts it, who has the lock already"
    )
    options = parser.parse_args(arguments)
    folder = options.folder
    if options.lock is None and try_lock(folder / "supervisor.lock") is None:
        print(f"another supervisor has {folder}", flush=True)
        return 0
    print(f"supervisor of {folder.name}: process {os.getpid()}", flush=True)
    try:
        Supervisor(folder).run()
    except RegistryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
