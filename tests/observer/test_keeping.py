"""Pairs as files: what a line says, that a file ends by size and age, and that the cap holds whatever comes."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace
from pyarrow.parquet import read_table

from crossfade.observer import keeping
from crossfade.observer.keeping import PairFiles
from crossfade.observer.observing import Observer
from crossfade.quality.answer import RawAnswer
from crossfade.quality.keep import Keep, KeptPair
from crossfade.quality.prediction import SegmentSource
from crossfade.quality.samples import encode
from tests.observer.test_pairs import DECISION, pair, raw

LIVE, COPY = b'{"p": 0.6, "country": "DE"}', b'{"p": 0.4}'


def lines(folder: Path) -> list[dict[str, Any]]:
    """Of all files, oldest first."""
    return [json.loads(line) for file in sorted(folder.iterdir()) for line in file.read_text().splitlines()]


def pairs(folder: Path) -> list[dict[str, Any]]:
    """Of all files of either format, oldest first."""
    found = []
    for file in sorted(folder.iterdir()):
        if file.suffix == ".parquet":
            found += read_table(file).to_pylist(maps_as_pydicts="strict")
        else:
            found += [json.loads(line) for line in file.read_text().splitlines()]
    return found


def names(folder: Path) -> list[str]:
    """What they end with."""
    return sorted("".join(file.suffixes) for file in folder.iterdir())


def kept(n: int = 100, route: str = "churn") -> KeptPair:
    """About `n` bytes."""
    return KeptPair(
        route, "abc", 1.5, None, "/p", "v2", "v3", 200, 200, None, 0.1, 0.1, None, False, 0.0, {}, "x" * n
    )


def total(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_a_line_has_the_answers_as_they_came(tmp_path: Path) -> None:
    observer = Observer()
    prediction = replace(DECISION, segment=(SegmentSource("answer", "country"),))
    observer.use({"churn": prediction}, {"churn": Keep(str(tmp_path / "pairs"), 2**20)})
    samples = [pair(LIVE, raw(COPY), RawAnswer(200, b"", b"\xff", 0.2)), pair(LIVE, RawAnswer(0))]
    observer.observe(encode(samples), 2)
    first, second = lines(tmp_path / "pairs")
    assert first == {
        "route": "churn", "request_id": "abc", "at": 1.5, "key": None, "target": "/predict",
        "champion": "v2", "challenger": "v3", "champion_status": 200, "challenger_status": 200,
        "second_status": 200, "champion_seconds": 0.1, "challenger_seconds": 0.1, "second_seconds": 0.2,
        "changed": True, "distance": pytest.approx(0.2), "segments": {"country": "DE"},
        "champion_body": LIVE.decode(), "challenger_body": COPY.decode(), "second_body": None,
        "champion_base64": None, "challenger_base64": None, "second_base64": "/w==",
    }  # fmt: skip
    assert (second["challenger_status"], second["challenger_seconds"], second["changed"]) == (0, None, True)


def test_a_route_that_keeps_nothing_writes_nothing(tmp_path: Path) -> None:
    observer = Observer()
    observer.use({"churn": DECISION}, {"other": Keep(str(tmp_path / "pairs"), 2**20)})
    observer.observe(encode([pair(LIVE, raw(COPY))]), 1)
    assert not (tmp_path / "pairs").exists()


@given(
    st.lists(st.lists(st.integers(0, 3000), max_size=6), max_size=20),
    st.integers(2000, 20_000),
    st.booleans(),
)
def test_the_cap_holds_after_each_write(batches: list[list[int]], most: int, parquet: bool) -> None:
    with TemporaryDirectory() as folder:
        files, written, dropped = PairFiles("a/b", Keep(folder, most, parquet=parquet)), 0, 0
        for batch in batches:
            for n in batch:
                files.add(kept(n))
                written += 1
            dropped += files.flush()
            assert total(Path(folder)) <= most
        files.close()
        assert total(Path(folder)) <= most
        assert len(pairs(Path(folder))) <= written - dropped


def test_the_oldest_pairs_are_deleted_first(tmp_path: Path) -> None:
    files = PairFiles("churn", Keep(str(tmp_path), 8000))
    for n in range(100):
        files.add(replace(kept(200), at=float(n)))
        files.flush()
    numbers = [line["at"] for line in lines(tmp_path)]
    assert numbers == [float(n) for n in range(100 - len(numbers), 100)]
    assert len(numbers) > 5


def test_files_of_other_routes_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for route in ("other", "churn-eu"):
        other = PairFiles(route, Keep(str(tmp_path), 8000))
        other.add(kept(5000))
        other.flush()
    files = PairFiles("churn", Keep(str(tmp_path), 2000))
    for _ in range(20):
        files.add(kept(300))
        assert files.flush() == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.glob("other-*.jsonl"))) == 1
    assert len(list(tmp_path.glob("churn-eu-*.jsonl"))) == 1


def test_an_old_file_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(keeping, "monotonic", lambda: clock[0])
    files = PairFiles("churn", Keep(str(tmp_path), 2**20, rotate=60.0))
    for clock[0] in (1.0, 30.0, 62.0):
        files.add(kept())
        files.flush()
    assert [len(file.read_text().splitlines()) for file in sorted(tmp_path.iterdir())] == [2, 1]


def test_a_disk_that_is_full_drops_pairs_and_later_ones_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = True

    def write(path: Path, data: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        keeping.write_to(path, data)

    files = PairFiles("churn", Keep(str(tmp_path), 2**20), write)
    for _ in range(3):
        files.add(kept())
        assert files.flush() == 1
    full = False
    files.add(kept())
    assert files.flush() == 0
    assert len(lines(tmp_path)) == 1
    assert caplog.text.count("pairs cannot be kept") == 1


def test_a_folder_that_cannot_be_made_drops_pairs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    observer = Observer()
    observer.use({"churn": DECISION}, {"churn": Keep(str(tmp_path / "file" / "pairs"), 2**20)})
    found = observer.observe(encode([pair(LIVE, raw(COPY))]), 1)
    assert found.counts.dropped == {"keep": 1}
    assert found.pairs, "they are compared all the same"
    assert "pairs cannot be kept" in caplog.text


def test_a_reload_with_the_same_keep_goes_on_in_the_same_file(tmp_path: Path) -> None:
    observer, keep = Observer(), {"churn": Keep(str(tmp_path), 2**20)}
    for _ in range(2):
        observer.use({"churn": DECISION}, keep)
        observer.observe(encode([pair(LIVE, raw(COPY))]), 1)
    assert len(list(tmp_path.iterdir())) == 1


# ── Parquet ───────────────────────────────────────────────────────────────────────────────────────

KEPT = replace(kept(), key=2**64 - 1, segments={"country": "DE"}, second_seconds=0.5, second_base64="/w==")


def parquet_files(folder: Path, **options: Any) -> PairFiles:
    return PairFiles("churn", Keep(str(folder), 2**20, **options, parquet=True))


def write(files: PairFiles, *added: KeptPair) -> int:
    for each in added:
        files.add(each)
    return files.flush()


def test_a_parquet_file_has_the_fields_of_a_line(tmp_path: Path) -> None:
    files = parquet_files(tmp_path)
    write(files, KEPT, kept())
    files.close()
    assert names(tmp_path) == [".parquet"]
    assert pairs(tmp_path) == [asdict(KEPT), asdict(kept())]


def test_pairs_are_lines_until_their_file_ends(tmp_path: Path) -> None:
    files = parquet_files(tmp_path)
    write(files, kept(), kept())
    assert names(tmp_path) == [".jsonl.part"]
    assert len(lines(tmp_path)) == 2


def test_a_full_file_becomes_parquet(tmp_path: Path) -> None:
    files = parquet_files(tmp_path)
    for at in range(100):
        write(files, replace(kept(4000), at=float(at)))
    assert set(names(tmp_path)) == {".jsonl.part", ".parquet"}
    assert sorted(pair["at"] for pair in pairs(tmp_path)) == [float(at) for at in range(100)]


def test_an_old_file_becomes_parquet_though_no_pair_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(keeping, "monotonic", lambda: clock[0])
    files = parquet_files(tmp_path, rotate=60.0)
    write(files, kept())
    clock[0] = 62.0
    files.flush()
    assert names(tmp_path) == [".parquet"]


def test_what_a_killed_observer_left_is_finished_by_the_next_one(tmp_path: Path) -> None:
    write(killed := parquet_files(tmp_path), replace(kept(), at=1.0))
    (left,) = tmp_path.iterdir()
    with left.open("ab") as file:
        file.write(b'{"route": "churn", "at')  # it was killed in the midst of a line
    assert killed.lock is not None
    os.close(killed.lock)  # the kernel does
    files = parquet_files(tmp_path)
    write(files, replace(kept(), at=2.0))
    assert names(tmp_path) == [".jsonl.part", ".parquet"]
    files.close()
    assert [pair["at"] for pair in pairs(tmp_path)] == [1.0, 2.0]


def test_the_file_that_another_observer_writes_is_left_to_it(tmp_path: Path) -> None:
    """The proxy before, while it drains."""
    write(before := parquet_files(tmp_path), replace(kept(), at=1.0))
    write(after := parquet_files(tmp_path), replace(kept(), at=2.0))
    write(before, replace(kept(), at=3.0))
    assert names(tmp_path) == [".jsonl.part", ".jsonl.part"]
    before.close()
    after.close()
    assert [pair["at"] for pair in pairs(tmp_path)] == [1.0, 3.0, 2.0]


def test_a_kill_between_any_two_steps_loses_no_pair_and_leaves_no_unreadable_file(tmp_path: Path) -> None:
    steps = ("as_parquet", "_sync", "write")
    for n, step in enumerate(steps):
        folder = tmp_path / step
        files = parquet_files(folder)
        write(files, kept())
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            if step == "write":
                patch.setattr(files, step, half_written)
            else:
                patch.setattr(keeping, step, killed_here)
            files.close()
        assert files.lock is not None, n
        os.close(files.lock)
        for file in folder.glob("*.parquet"):
            read_table(file)
        after = parquet_files(folder)
        write(after, kept())
        after.close()
        assert names(folder) == [".parquet", ".parquet"]
        assert len(pairs(folder)) == 2


def killed_here(*_: Any) -> Any:
    raise KeyboardInterrupt


def half_written(path: Path, data: bytes) -> None:
    keeping.write_to(path, data[:10])
    raise KeyboardInterrupt


def test_without_room_for_parquet_pairs_stay_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def no_parquet(path: Path, data: bytes) -> None:
        if ".parquet" in path.name:
            keeping.write_to(path, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        keeping.write_to(path, data)

    files = PairFiles("churn", Keep(str(tmp_path), 2**20, parquet=True), no_parquet)
    assert write(files, kept()) == 0
    files.close()
    assert names(tmp_path) == [".jsonl"]
    assert lines(tmp_path) == [asdict(kept())]
    assert "pairs cannot be kept" in caplog.text


def test_a_full_disk_leaves_no_empty_files(tmp_path: Path) -> None:
    def write_nothing(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files = PairFiles("churn", Keep(str(tmp_path), 2**20, parquet=True), write_nothing)
    assert [write(files, kept()) for _ in range(3)] == [1, 1, 1]
    assert list(tmp_path.iterdir()) == []


def test_a_reload_and_the_end_finish_the_files(tmp_path: Path) -> None:
    observer = Observer()
    for most in (2**20, 2**21):
        observer.use({"churn": DECISION}, {"churn": Keep(str(tmp_path), most, parquet=True)})
        observer.observe(encode([pair(LIVE, raw(COPY))]), 1)
    assert names(tmp_path) == [".jsonl.part", ".parquet"]
    observer.close()
    assert names(tmp_path) == [".parquet", ".parquet"]
