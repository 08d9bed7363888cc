"""The threads of the prediction logs: transactions, readers."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from crossfade.control.prediction_logs import PredictionLogs
from crossfade.control.prediction_tables import id_hash, signed, unsigned


def _names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM backend ORDER BY id")]


async def test_a_reader_sees_what_was_written_and_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    logs = PredictionLogs(tmp_path / "log")
    assert await logs.read("churn", _names) is None

    def two(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO backend (name) VALUES ('v2')")
        connection.execute("INSERT INTO backend (name) VALUES ('v1')")

    await logs.write(
        "churn", lambda connection: connection.execute("INSERT INTO backend (name) VALUES ('v1')")
    )
    with pytest.raises(sqlite3.IntegrityError):
        await logs.write("churn", two)
    assert await logs.read("churn", _names) == ["v1"]
    assert await logs.close()


def test_hashes_of_64_bits_are_stored_as_signed_integers() -> None:
    for value in (0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        assert -(1 << 63) <= signed(value) < 1 << 63
        assert unsigned(signed(value)) == value
    assert -(1 << 63) <= id_hash(b"r-1") < 1 << 63
    assert id_hash(b"r-1") != id_hash(b"r-2")


_LEAVING = """
import asyncio
from crossfade.control.prediction_logs import PredictionLogs

async def leave():
    logs = PredictionLogs(None)
    await logs.write("churn", lambda log: log.execute("INSERT INTO backend (name) VALUES ('v1')"))
    print(logs.folder, logs.folder.exists(), end="")
    CLOSES and await logs.close()

asyncio.run(leave())
"""


@pytest.mark.parametrize("closes", [True, False])
async def test_the_log_of_a_state_in_memory_goes_with_it(closes: bool) -> None:
    """Also where nobody closes it."""
    text = _LEAVING.replace("CLOSES", str(closes))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", text, stdout=PIPE, stderr=PIPE
    )
    said, errors = await child.communicate()
    folder, existed = said.decode().split()
    assert (existed, errors, child.returncode) == ("True", b"", 0)
    assert not await asyncio.to_thread(Path(folder).exists)
