"""Content codings, undone within a limit."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from crossfade.quality.encodings import unpack
from crossfade.quality.unreadable import Unreadable
from tests.quality.reading import declared, read

BODY = b'{"p": 0.5, "text": "' + b"ab" * 500 + b'"}'


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


def why(packed: bytes, field: str, largest: int = 1 << 20) -> str:
    with pytest.raises(Unreadable) as raised:
        unpack(packed, field, largest)
    return str(raised.value)


@pytest.mark.parametrize("coding", PACKERS)
def test_each_coding_is_undone(coding: str) -> None:
    packed = PACKERS[coding](BODY)
    assert unpack(packed, coding, len(BODY)).content == BODY
    assert unpack(PACKERS[coding](b""), coding, 0).content == b""
    head = b"Content-Type: application/json\r\nContent-Encoding: " + coding.encode() + b"\r\n"
    assert [row[0].value for row in read(packed, declared(score="p"), head=head).rows] == [0.5]


def test_several_codings_are_undone_from_the_last_one() -> None:
    packed = zstd.compress(brotli.compress(gzip.compress(BODY)))
    assert unpack(packed, "gzip, br ,identity,, zstd", len(BODY)).content == BODY
    head = b"content-encoding: gzip\r\ncontent-encoding: br, zstd\r\n"
    assert read(packed, declared(score="p"), head=head).unread == ""


@pytest.mark.parametrize("field", ["", "identity", " , "])
def test_no_coding(field: str) -> None:
    assert unpack(BODY, field, 0).content == BODY


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_parts_one_after_another(coding: str) -> None:
    packed = PACKERS[coding](BODY) + PACKERS[coding](b"more")
    assert unpack(packed, coding, 2000).content == BODY + b"more"


@pytest.mark.parametrize("coding", PACKERS)
def test_the_limit_is_of_the_unpacked_size(coding: str) -> None:
    assert why(PACKERS[coding](BODY), coding, len(BODY) - 1) == "size"


@pytest.mark.parametrize("coding", PACKERS)
def test_a_bomb_costs_no_more_than_the_limit(coding: str) -> None:
    bomb = PACKERS[coding](bytes(16 << 20))
    tracemalloc.start()
    try:
        assert why(bomb, coding, 1 << 20) == "size"
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_inside_of_a_bomb() -> None:
    assert why(gzip.compress(gzip.compress(bytes(16 << 20))), "gzip, gzip") == "size"


def test_a_window_that_needs_much_memory_is_refused() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
    assert why(packer.compress(BODY) + packer.flush(), "zstd") == "corrupt"


@pytest.mark.parametrize("coding", PACKERS)
def test_what_cannot_be_unpacked_is_corrupt(coding: str) -> None:
    packed = PACKERS[coding](BODY)
    assert why(packed[:-5], coding) == "corrupt"
    assert why(b"\x8f no packed bytes", coding) == "corrupt"
    assert why(packed + b"x", coding) == "corrupt"


@pytest.mark.parametrize("field", ["compress", "gzip, what", "gzip;q=1", ", ".join(["gzip"] * 5)])
def test_an_unknown_coding_and_too_many(field: str) -> None:
    assert why(BODY, field) == "encoding"


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_without_the_library_the_coding_is_not_known(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("brotli", "backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    assert why(PACKERS[coding](BODY), coding) == "encoding"


@pytest.mark.parametrize("coding", PACKERS)
def test_places_in_the_packed_bytes_become_places_in_the_content(coding: str) -> None:
    packed = PACKERS[coding](BODY)
    found = unpack(packed, coding, len(BODY), (0, 1, len(packed) - 1, len(packed)))
    assert found.ends[0] == 0
    assert found.ends[-1] == len(BODY)
    assert list(found.ends) == sorted(found.ends)


def test_what_was_flushed_is_known_at_its_place() -> None:
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"first ") + packer.flush(zlib.Z_SYNC_FLUSH)
    packed = first + packer.compress(b"second") + packer.flush()
    assert unpack(packed, "gzip", 99, (len(first),)).ends == (6,)
    assert unpack(first, "gzip", 99, whole=False).content == b"first "


@given(st.binary(max_size=200), st.sampled_from(sorted(PACKERS)), st.integers(0, 300))
def test_any_bytes_are_unpacked_or_have_a_reason(packed: bytes, coding: str, largest: int) -> None:
    try:
        assert len(unpack(packed, coding, largest).content) <= largest
    except Unreadable as reason:
        assert str(reason) in ("corrupt", "size")


@given(st.binary(max_size=2000), st.sampled_from(sorted(PACKERS)), st.lists(st.integers(0, 100), max_size=5))
def test_whole_or_in_pieces_the_content_is_the_same(content: bytes, coding: str, cuts: list[int]) -> None:
    packed = PACKERS[coding](content)
    ends = tuple(sorted(min(cut, len(packed)) for cut in cuts))
    assert unpack(packed, coding, 2000, ends).content == content
