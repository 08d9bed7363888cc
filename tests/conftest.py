"""Settings of all tests. No test fails only because the machine is slow."""

from __future__ import annotations

import inspect
import signal
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import settings

from crossfade.control import store
from tests.blocking import watched

settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

# A shell starts background jobs with SIGINT ignored; processes of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def databases_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes the connections that tests leave open as a killed proxy does; CPython 3.13 warns about them."""
    opened: list[sqlite3.Connection] = []

    def recording_connect(path: str) -> sqlite3.Connection:
        opened.append(connect(path))
        return opened[-1]

    connect = store.connect
    monkeypatch.setattr(store, "connect", recording_connect)
    yield
    for connection in opened:
        connection.close()


@pytest.fixture(autouse=True)
def loop_not_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        with watched():
            yield
    else:
        yield
