"""The spool: what is added is read back after a crash, and a line that was cut short is not."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from crossfade.control.applied import Applied
from crossfade.control.route_record import RouteRecord
from crossfade.control.spool import RESERVED, Spool, Spooled
from crossfade.control.views import Decision
from crossfade.routing.ledger import new_ledger, reweigh, salt_of


def item(number: int) -> Spooled:
    ledger = reweigh(new_ledger({"v2": 10_000}, salt_of("r")), {"v2": 9000, "v3": 1000}, salt_of("r"))
    draft = Decision(0, number, "r", "abort", "loop", {}, {}, "é\n", {"n": [number, 0.1]}, 1, "", "", "")
    return Spooled(draft, RouteRecord("r", ledger, Applied({})) if number % 2 else None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db.spool"


def left_in(path: Path) -> list[Spooled]:
    return Spool(str(path)).read()


def test_what_is_added_is_read_back_in_order_until_it_is_cleared(path):
    assert left_in(path) == []
    with closing(Spool(str(path))) as spool:
        spool.add([item(1), item(2)])
        spool.add([item(3)])
        assert left_in(path) == [item(1), item(2), item(3)]
        spool.clear()
        assert left_in(path) == []
        spool.add([item(4)])
    assert left_in(path) == [item(4)]


def test_a_file_with_any_end_missing_gives_the_whole_lines(path, caplog):
    with closing(Spool(str(path))) as spool:
        spool.add([item(1), item(2)])
        size = spool.end
    whole = path.read_bytes()[:size]
    first = whole.index(b"\n") + 1
    for end in range(0, size, 7):
        path.write_bytes(whole[:end] + bytes(100))
        assert left_in(path) == [item(1)][: end >= first - 1]
    path.write_bytes(whole[: first + 20])
    with closing(Spool(str(path))) as spool:
        assert spool.read() == [item(1)]
        spool.open()
        spool.add([item(3)])
    assert left_in(path) == [item(1), item(3)]
    assert "is damaged and is ignored" in caplog.text


def test_a_damaged_line_hides_no_other(path):
    with closing(Spool(str(path))) as spool:
        spool.add([item(1), item(2), item(3)])
    content = bytearray(path.read_bytes())
    content[content.index(b"\n") + 40] ^= 1
    path.write_bytes(content)
    assert left_in(path) == [item(1), item(3)]


def test_a_file_that_is_deleted_or_replaced_is_made_again_with_all_lines(path):
    with closing(Spool(str(path))) as spool:
        spool.add([item(1)])
        path.unlink()
        spool.add([item(2)])
        assert left_in(path) == [item(1), item(2)]
        path.rename(path.with_suffix(".old"))
        path.write_bytes(b"")
        spool.add([item(3)])
    assert left_in(path) == [item(1), item(2), item(3)]


def test_it_is_for_its_owner_only_and_has_room_from_the_start(path):
    mask = os.umask(0o022)
    try:
        path.touch(0o666)
        with closing(Spool(str(path))) as spool:
            spool.open()
            assert (path.stat().st_mode & 0o777, path.stat().st_size) == (0o600, RESERVED)
            assert left_in(path) == []
    finally:
        os.umask(mask)


def test_a_write_that_fails_leaves_no_half_line(path, monkeypatch):
    """On a full disk a part of the data may be written; the next line begins where that part began."""
    real = os.pwrite

    def full(fd: int, data: memoryview, at: int) -> int:
        if len(data) > 40:
            return real(fd, data[:40], at)
        raise OSError(28, "No space left on device")

    with closing(Spool(str(path))) as spool:
        spool.add([item(1)])
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            spool.add([item(2)])
        monkeypatch.setattr(os, "pwrite", real)
        assert left_in(path) == [item(1)]
        spool.add([item(3)])
    assert left_in(path) == [item(1), item(3)]
