"""Faults of processes: kills, stops, takeovers, starts that fail, and a disk or descriptors that run out. One at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

from tests.soak.laws import DESCRIPTORS, KILLED, STOPPED, WORKER_DESCRIPTORS
from tests.soak.operators import Operators
from tests.soak.proxy import RECOVERY, Proxy
from tests.soak.record import Record


class ProcessFaults:
    def __init__(self, proxy: Proxy, operators: Operators, record: Record, seed: str) -> None:
        self.proxy, self.operators, self.record = proxy, operators, record
        self.random = random.Random(seed)
        self.all: dict[str, Callable[[], Awaitable[None]]] = {
            "kill-worker": self.kill_worker,
            "term-worker": self.term_worker,
            "stop-worker": self.stop_worker,
            "kill-control": self.kill_control,
            "stop-control": self.stop_control,
            "late-control": self.delay_control,
            "hang-up": self.hang_up,
            "takeover": self.take_over,
            "two-takeovers": self.take_over_twice,
            "killed-takeover": self.kill_takeover,
            "ended-takeover": self.end_takeover,
            "restart-proxy": self.restart,
            "second-start": self.start_second,
            "broken-takeover": self.take_over_with_broken_file,
            "broken-start": self.start_with_broken_file,
            "disk-full": self.fill_disk,
            "database-locked": self.lock_database,
            "state-gone": self.move_state,
            "forgotten-abort": self.abort_and_kill,
            "descriptors": self.use_up_descriptors,
            "worker-descriptors": self.use_up_descriptors_of_worker,
        }

    def pause(self, low: float, high: float) -> Awaitable[None]:
        return asyncio.sleep(self.random.uniform(low, high))

    async def kill_worker(self) -> None:
        victim = self.random.choice(self.proxy.pids("worker"))
        with self.record.fault(KILLED, f"pid {victim}"):
            os.kill(victim, signal.SIGKILL)
            await self.pause(0.2, 1)

    async def term_worker(self) -> None:
        """It drains; another takes its place."""
        victim = self.random.choice(self.proxy.pids("worker"))
        with self.record.fault("worker terminated", f"pid {victim}"):
            os.kill(victim, signal.SIGTERM)
            await self.pause(0.2, 1)

    async def stop_worker(self) -> None:
        """Not so long that it is taken for dead: its requests wait."""
        victim = self.random.choice(self.proxy.pids("worker"))
        with self.record.fault("worker stopped", f"pid {victim}"):
            os.kill(victim, signal.SIGSTOP)
            await self.pause(0.5, 3)
            os.kill(victim, signal.SIGCONT)

    async def kill_control(self) -> None:
        """Its workers serve on, until the next control process is ready."""
        async with self.proxy.starting:
            control = self.proxy.control
            with self.record.fault("control killed", f"pid {control.pid}"):
                control.kill()
                control.wait()
                await self.pause(0, 3)
                self.proxy.control = self.proxy.spawn()
                await self.proxy.settle()

    async def stop_control(self) -> None:
        await self.stop_control_for(self.random.uniform(1, 6))

    async def delay_control(self) -> None:
        """For longer than a worker may be silent: it was the control process that was late."""
        await self.stop_control_for(self.random.uniform(11, 14))

    async def stop_control_for(self, seconds: float) -> None:
        control = self.proxy.control
        before = self.proxy.pids("worker")
        with self.record.fault("control stopped", f"pid {control.pid}"):
            control.send_signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            control.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.9)
        if gone := set(before) - set(self.proxy.pids("worker")):
            self.record.violate("16", f"a control process that was stopped has lost its workers {gone}")

    async def hang_up(self) -> None:
        with self.record.fault("reload by signal"):
            self.proxy.control.send_signal(signal.SIGHUP)

    async def take_over(self) -> None:
        async with self.proxy.starting:
            await self.replace()

    async def replace(self) -> None:
        """Another proxy takes over. On a slow machine it may give up, and leaves all as it was; then another tries."""
        codes = await self.replaced()
        if codes == (None, 1):
            codes = await self.replaced()
        if codes != (0, None):
            self.record.violate("16", f"a takeover: exit codes {codes}")

    async def replaced(self) -> tuple[int | None, int | None]:
        """The exit codes of the proxy before and of its successor; None of one that runs."""
        before, successor = self.proxy.control, self.proxy.spawn("--takeover")
        with self.record.fault("takeover", f"by pid {successor.pid}"):
            while before.poll() is None and successor.poll() is None:
                await asyncio.sleep(0.05)
            if before.poll() is not None:
                self.proxy.control = successor
            await self.proxy.settle()
        return before.poll(), successor.poll()

    async def take_over_twice(self) -> None:
        """Two at once: one of them serves in the end, whichever comes last."""
        async with self.proxy.starting:
            with self.record.fault("takeover", "by two at once"):
                both = [self.proxy.spawn("--takeover") for _ in range(2)]
                before = self.proxy.control
                await self.proxy.wait(before, RECOVERY)
                if (left := await self.one_left([before, *both])) != 1:
                    self.record.violate("16", f"two takeovers: {left} control processes live")
                await self.adopt([before, *both])

    async def one_left(self, processes: list[subprocess.Popen[bytes]]) -> int:
        """Waits until only one lives; returns how many do."""
        end = time.monotonic() + RECOVERY
        while (left := sum(each.poll() is None for each in processes)) > 1 and time.monotonic() < end:
            await asyncio.sleep(0.1)
        return left

    async def kill_takeover(self) -> None:
        await self.break_takeover(signal.SIGKILL)

    async def end_takeover(self) -> None:
        await self.break_takeover(signal.SIGTERM)

    async def break_takeover(self, how: signal.Signals) -> None:
        """The successor ends on the way. Whoever is left serves; if nobody is, the next start does."""
        async with self.proxy.starting:
            # A signal after the hand-over ends the new proxy in good order.
            in_order = how is signal.SIGTERM
            with self.record.fault("takeover", f"{how.name} on the way"), self.ended_in_order(in_order):
                before, successor = self.proxy.control, self.proxy.spawn("--takeover")
                await self.pause(0.2, 2.5)
                successor.send_signal(how)
                if await self.proxy.wait(successor, RECOVERY) is None:
                    self.record.violate("16", f"a successor does not end by {how.name}")
                    successor.kill()
                await self.pause(0.5, 1)
                await self.adopt([before])

    def ended_in_order(self, is_ended: bool = True) -> AbstractContextManager[object]:
        return self.record.fault(STOPPED) if is_ended else nullcontext()

    async def restart(self) -> None:
        """A drain, and a start: meanwhile there is nobody to connect to, but no request is lost."""
        async with self.proxy.starting:
            with self.ended_in_order():
                self.proxy.control.send_signal(signal.SIGTERM)
                code = await self.proxy.wait(self.proxy.control, RECOVERY)
                if code != 0:
                    self.record.violate("9", f"the exit code after a drain is {code}")
                self.proxy.control = self.proxy.spawn()
                await self.proxy.settle()

    async def adopt(self, candidates: list[subprocess.Popen[bytes]]) -> None:
        """The one that lives is the control process; if none does, another is started."""
        await asyncio.sleep(0.2)
        alive = [each for each in candidates if each.poll() is None]
        if not alive:
            self.record.act("no control process is left: a start")
        self.proxy.control = alive[-1] if alive else self.proxy.spawn()
        await self.proxy.settle()

    async def start_second(self) -> None:
        """The state is locked, so it ends, and changes nothing."""
        async with self.proxy.starting:
            await self.fail_to_start()

    async def take_over_with_broken_file(self) -> None:
        async with self.proxy.starting:
            with self.broken_file():
                await self.fail_to_start("--takeover")

    async def start_with_broken_file(self) -> None:
        """After a kill: a start fails, and the orphans serve on."""
        async with self.proxy.starting:
            with self.record.fault("control killed", f"pid {self.proxy.control.pid}"):
                self.proxy.control.kill()
                self.proxy.control.wait()
                with self.broken_file():
                    await self.fail_to_start()
                    await self.pause(0.5, 2)
                self.proxy.control = self.proxy.spawn()
                await self.proxy.settle()

    async def fail_to_start(self, *options: str) -> None:
        with self.record.fault("start fails", " ".join(options)):
            process = self.proxy.spawn(*options)
            code = await self.proxy.wait(process, RECOVERY)
            if code != 1:
                self.record.violate("16", f"a start that must fail has the exit code {code}")
                process.kill()

    @contextmanager
    def broken_file(self) -> Iterator[None]:
        """The running proxy refuses it too, and goes on from the file before."""
        file = self.proxy.file
        text = file.read_text()
        with self.record.fault("broken file"):
            replace(file, text.replace("split:", "splt:", 1))
            try:
                yield
            finally:
                replace(file, text)

    async def fill_disk(self) -> None:
        """No file of the control process can grow."""
        with self.limited(self.proxy.control.pid, resource.RLIMIT_FSIZE, 0, "disk full"):
            await self.pause(1, 5)

    async def lock_database(self) -> None:
        """Another program holds a lock on the database: nothing can be written."""
        with self.locked_database():
            await self.pause(1, 4)

    async def move_state(self) -> None:
        """The database is not where it was for a while. Nothing may rise until the next proxy has read what is in force."""
        async with self.proxy.starting:
            state = self.proxy.state
            away = state.with_suffix(".away")
            with self.record.fault("disk full", "the database is gone"):
                state.rename(away)
                await self.pause(1, 4)
                away.rename(state)
                await self.replace()

    @contextmanager
    def locked_database(self) -> Iterator[None]:
        with (
            self.record.fault("disk full", "the database is locked"),
            closing(sqlite3.connect(self.proxy.state, timeout=5.0, isolation_level=None)) as other,
        ):
            other.execute("BEGIN IMMEDIATE")
            yield

    async def abort_and_kill(self) -> None:
        """An abort that the database does not take is in force, and survives a kill."""
        async with self.proxy.starting:
            with self.locked_database():
                await self.operators.send("abort")
                with self.record.fault("control killed", f"pid {self.proxy.control.pid}"):
                    self.proxy.control.kill()
                    self.proxy.control.wait()
            with self.record.fault("control killed", "a start"):
                self.proxy.control = self.proxy.spawn()
                await self.proxy.settle()

    async def use_up_descriptors_of_worker(self) -> None:
        """It accepts nobody and reaches no model but by open connections. Its clients wait."""
        await self.limit_descriptors(self.random.choice(self.proxy.pids("worker")), WORKER_DESCRIPTORS)

    async def limit_descriptors(self, pid: int, kind: str) -> None:
        with self.limited(pid, resource.RLIMIT_NOFILE, len(os.listdir(f"/proc/{pid}/fd")) + 1, kind):
            await self.pause(1, 4)

    async def use_up_descriptors(self) -> None:
        """Of the control process: it can open nothing, and a worker that ends has no successor for a while."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.limit_descriptors(self.proxy.control.pid, DESCRIPTORS))
            if self.random.random() < 0.5:
                await self.kill_worker()

    @contextmanager
    def limited(self, pid: int, what: int, limit: int, kind: str) -> Iterator[None]:
        before = resource.prlimit(pid, what)
        with self.record.fault(kind, f"pid {pid}"):
            resource.prlimit(pid, what, (limit, before[1]))
            try:
                yield
            finally:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(pid, what, before)


def replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)
