"""No blocking call inside of a loop, while a coroutine is tested: the proxy's one thread serves all that wait meanwhile.

blockbuster puts a check in the place of what may block (files, sqlite, sleep, locks, sockets that block), for as long as
such a test runs, and raises where a function of ours calls it in a running loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import BlockBuster

import crossfade

# File, functions of it that may block, with all that they call.
ALLOWED = (
    # Before anything is served, or when nothing is any more.
    ("crossfade/control/store.py", {"open", "read", "close"}),
    ("crossfade/control/recovery.py", {"recover"}),
    ("crossfade/admin/dashboard_files.py", {"__init__"}),
    # Tests read the store themselves. The proxy reads it at the start, and then in a thread; it is never written here.
    (
        "crossfade/control/store.py",
        {"anchor", "clock", "comparisons", "drained", "messages", "records", "retrainings", "rows", "select"},
    ),
    # A stat of the lock file, and a look into /proc: at a start, or in a worker whose control process has ended.
    ("crossfade/workers/state_lock.py", {"is_held", "_started_at", "lock_file_of", "_take"}),
    ("crossfade/workers/local_socket.py", {"listen_at"}),
    # A test's own reading of certificates, as App.read does in a thread.
    ("tests/control/test_prober.py", {"written"}),
)

WATCH = BlockBuster(crossfade)
for function in WATCH.functions.values():
    for file, functions in ALLOWED:
        function.can_block_in(file, functions)


@contextmanager
def watched() -> Iterator[None]:
    WATCH.activate()
    try:
        yield
    finally:
        WATCH.deactivate()
