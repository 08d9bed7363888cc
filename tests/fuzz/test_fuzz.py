"""The laws on the corpus and on mutations of it, the same in each run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.http1 import framing, lines
from tests.build import interpreted
from tests.fuzz.laws import LAWS, SWITCHED, UPGRADE, Exchanges, sending
from tests.fuzz.mutations import mutations
from tests.http1.corpus import CORPUS, messages, name_of

CASES = 1500
SEED = 20


@pytest.fixture(scope="module")
def exchanges() -> Iterator[Exchanges]:
    with Exchanges() as exchanges:
        yield exchanges


@pytest.fixture
def busy_exchanges() -> Iterator[Exchanges]:
    with Exchanges(busy=True) as exchanges:
        yield exchanges


@pytest.mark.parametrize("path", messages("streams"), ids=name_of)
def test_streams_of_clients(exchanges: Exchanges, path: Path) -> None:
    exchanges.client(path.read_bytes())


@pytest.mark.parametrize("path", messages("streams_of_answers"), ids=name_of)
def test_streams_of_origins(exchanges: Exchanges, path: Path) -> None:
    exchanges.origin(path.read_bytes())


@pytest.mark.parametrize("path", sorted(CORPUS.glob("streams_of_answers/rfc6455-*")), ids=name_of)
def test_handshakes_of_the_corpus_open_tunnels(exchanges: Exchanges, path: Path) -> None:
    """Otherwise the law would not cover tunnels."""
    trace = exchanges.relay(exchanges.memories[0], [UPGRADE], sending([path.read_bytes()]))
    assert SWITCHED.split(trace.to_client, maxsplit=1)[1] == path.read_bytes().partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("name", LAWS)
def test_mutations(exchanges: Exchanges, name: str) -> None:
    law, seeds = LAWS[name]
    for raw in mutations(CASES, SEED, seeds()):
        try:
            law(exchanges, raw)
        except Exception as error:
            error.add_note(f"the case: {raw!r}")
            raise


@pytest.mark.parametrize("name", ["client", "origin"])
def test_mutations_in_a_busy_worker(busy_exchanges: Exchanges, name: str) -> None:
    test_mutations(busy_exchanges, name)


# ── the laws find faults ─────────────────────────────────────────────────────────────────────


def breaks_law(exchanges: Exchanges, name: str) -> bool:
    law, seeds = LAWS[name]
    for raw in mutations(CASES, SEED, seeds()):
        try:
            law(exchanges, raw)
        except Exception:
            return True
    return False


@pytest.fixture
def empty_field_cache() -> Iterator[None]:
    """Cached lines would hide a changed reading of them, or keep it."""
    lines.FIELDS.clear()
    yield
    lines.FIELDS.clear()


@pytest.mark.usefixtures("empty_field_cache")
def test_an_ignored_content_length_breaks_a_law(
    exchanges: Exchanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lines.KINDS, b"content-length", lines.DROP)
    assert breaks_law(exchanges, "client")


@pytest.mark.usefixtures("empty_field_cache")
def test_an_ignored_transfer_encoding_breaks_a_law(
    exchanges: Exchanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lines.KINDS, b"transfer-encoding", lines.DROP)
    assert breaks_law(exchanges, "client")


@interpreted
def test_trailers_read_as_a_request_break_a_law(
    exchanges: Exchanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: framing.ChunkedReader, data: bytes, start: int) -> int:
        self.done = True
        return start + 2

    monkeypatch.setattr(framing.ChunkedReader, "read_trailers", none)
    assert breaks_law(exchanges, "client") and breaks_law(exchanges, "chunks")


@interpreted
def test_a_cut_answer_that_looks_complete_breaks_a_law(
    exchanges: Exchanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgiving(self: framing.ChunkedReader, data: bytes) -> bytes:
        payload = feed(self, data)
        if not self.done and not payload:
            self.done = True
        return payload

    feed = framing.ChunkedReader.feed
    monkeypatch.setattr(framing.ChunkedReader, "feed", forgiving)
    assert breaks_law(exchanges, "origin")
