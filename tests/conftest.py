"""Settings of all tests. No test fails only because the machine is slow."""

from __future__ import annotations

import inspect
import signal
import sys
from collections.abc import Iterator
from typing import Any

import execnet
import pytest
from hypothesis import settings

from crossfade.control.store import Store
from tests.blocking import watched

settings.register_profile("no_deadline", deadline=None)
# With one more Python: pytest --hypothesis-profile=again. A tenth: what depends on the Python seldom depends on the example.
settings.register_profile("again", deadline=None, max_examples=10)
settings.load_profile("no_deadline")

# A shell starts background jobs with SIGINT ignored; processes of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[execnet.XSpec]) -> None:
    """The processes that share the tests run in CPython's development mode if this one does."""
    for spec in specs if sys.flags.dev_mode else ():
        spec.python = f"{sys.executable} -X dev"


@pytest.fixture(autouse=True)
def stores_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes the stores that tests leave open as a killed proxy does; CPython 3.13 warns about open connections."""
    opened: list[Store] = []
    init = Store.__init__

    def recording_init(store: Store, *arguments: Any) -> None:
        init(store, *arguments)
        opened.append(store)

    monkeypatch.setattr(Store, "__init__", recording_init)
    yield
    for store in opened:
        store.close()


@pytest.fixture(autouse=True)
def loop_not_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        with watched():
            yield
    else:
        yield
