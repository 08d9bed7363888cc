"""Tasks run in order in one thread, and a task that hangs keeps nobody from leaving."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from crossfade.control.disk_thread import DiskThread


async def test_tasks_run_in_order_and_their_errors_come_back():
    thread, loop = DiskThread("t"), asyncio.get_running_loop()
    seen: list[int] = []
    await asyncio.gather(*(loop.run_in_executor(thread, seen.append, n) for n in range(20)))
    assert seen == list(range(20))
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(thread, lambda: 1 / 0)
    assert await loop.run_in_executor(thread, threading.get_ident) == thread.thread.ident
    assert await asyncio.to_thread(thread.end)
    assert not thread.thread.is_alive()


def test_the_end_of_a_thread_that_had_no_task():
    assert DiskThread("t").end()


def test_the_end_does_not_wait_for_a_task_that_hangs():
    thread, gate = DiskThread("t"), threading.Event()
    thread.submit(gate.wait)
    assert not thread.end(0.01)
    gate.set()
    thread.thread.join()


HANGING = """
import asyncio, threading
from crossfade.control import database, disk_thread, journal, store
disk_thread.CLOSE_WAIT = 0.1
class Hanging(store.Store):
    def commit(self, batch):
        threading.Event().wait()
async def main(path):
    held = Hanging.open(f"sqlite:{path}")
    asyncio.get_running_loop().run_in_executor(held.write_thread, held.commit, None)
    await asyncio.sleep(0.05)
    held.write_thread.end = lambda: disk_thread.DiskThread.end(held.write_thread, 0.1)
    print("closed", held.close())
import sys
asyncio.run(main(sys.argv[1]))
"""


def test_a_process_whose_disk_hangs_ends(tmp_path):
    command = [sys.executable, "-c", HANGING, str(tmp_path / "state.db")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "closed False\n"
