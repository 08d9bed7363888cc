"""What all tests share: no test fails for being slow, since how slow a machine is says nothing of the code."""

from __future__ import annotations

import inspect
import signal
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import settings

from crossfade.control import store
from tests.blocking import watched

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# A shell starts background jobs with SIGINT ignored, and the processes that tests start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def databases_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests leave stores as a killed proxy would; CPython 3.13 warns of connections that nobody closes."""
    opened: list[sqlite3.Connection] = []

    def remembered(path: str) -> sqlite3.Connection:
        opened.append(connect(path))
        return opened[-1]

    connect = store.connect
    monkeypatch.setattr(store, "connect", remembered)
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
