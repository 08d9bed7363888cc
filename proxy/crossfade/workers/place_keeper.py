"""The control process's part of the table of places: it makes the table, or gets that of the proxy before, and clears
the rows of workers that are gone.

Rule: a worker's places are free once its process has ended, and so its connections to backends are closed. In a
takeover the workers of both proxies share one table, so a limit holds over all of them.
"""

from __future__ import annotations

import os

from crossfade.shared_places import SharedPlaces, is_table, new_memory
from crossfade.workers.state_lock import is_alive, name_of


def started_at(pid: int) -> int:
    """Of a process, as the table has it."""
    return int(name_of(pid).partition(":")[2] or 0)


def joined(fd: int, workers: int) -> SharedPlaces | None:
    """The table as this process, a worker, sees it. None without a descriptor."""
    if fd < 0:
        return None
    places = SharedPlaces(fd, workers)
    places.join(started_at(os.getpid()))
    return places


class PlaceKeeper:
    def __init__(self, inherited: int | None = None) -> None:
        """`inherited`: the descriptor of the table of the proxy before."""
        if inherited is not None and not is_table(inherited):
            os.close(inherited)
            inherited = None
        self.fd = new_memory() if inherited is None else inherited
        self.shared = SharedPlaces(self.fd)

    def clear(self, pid: int) -> None:
        """This process has ended."""
        for row, of, _ in self.shared.table.processes():
            if of == pid:
                self.shared.clear(row, pid)

    def clear_ended(self) -> None:
        """Of workers that nobody waits for: those of the proxy before."""
        for row, pid, started in self.shared.table.processes():
            if not is_alive(f"{pid}:{started}"):
                self.shared.clear(row, pid)

    def close(self) -> None:
        self.shared.close()
        os.close(self.fd)
