"""The harness for some seconds: the corpus, and mutations of it that are the same in each run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.http1 import framing, lines
from tests.build import interpreted
from tests.fuzz.laws import LAWS, SWITCHED, UPGRADE, Exchanges, saying
from tests.fuzz.mutations import mutations
from tests.http1.corpus import CORPUS, messages, name_of

CASES = 1500
SEED = 20


@pytest.fixture(scope="module")
def exchanges() -> Iterator[Exchanges]:
    with Exchanges() as exchanges:
        yield exchanges


@pytest.mark.parametrize("path", messages("streams"), ids=name_of)
def test_streams_of_clients(exchanges: Exchanges, path: Path) -> None:
    exchanges.client(path.read_bytes())


@pytest.mark.parametrize("path", messages("streams_of_answers"), ids=name_of)
def test_streams_of_origins(exchanges: Exchanges, path: Path) -> None:
    exchanges.origin(path.read_bytes())


@pytest.mark.parametrize("path", sorted(CORPUS.glob("streams_of_answers/rfc6455-*")), ids=name_of)
def test_handshakes_do_switch(exchanges: Exchanges, path: Path) -> None:
    """Or the law would have nothing to say of tunnels."""
    talk = exchanges.talk(exchanges.memories[0], [UPGRADE], saying([path.read_bytes()]))
    assert SWITCHED.split(talk.said, maxsplit=1)[1] == path.read_bytes().partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("name", LAWS)
def test_mutations(exchanges: Exchanges, name: str) -> None:
    law, seeds = LAWS[name]
    for raw in mutations(CASES, SEED, seeds()):
        try:
            law(exchanges, raw)
        except Exception as error:
            error.add_note(f"the case: {raw!r}")
            raise


# ── the harness would notice ──────────────────────────────────────────────────────────────────


def finds(exchanges: Exchanges, name: str) -> bool:
    law, seeds = LAWS[name]
    for raw in mutations(CASES, SEED, seeds()):
        try:
            law(exchanges, raw)
        except Exception:
            return True
    return False


@pytest.fixture
def unlearned() -> Iterator[None]:
    """Lines that are known already would hide another reading of them, or keep it."""
    lines.FIELDS.clear()
    yield
    lines.FIELDS.clear()


@pytest.mark.usefixtures("unlearned")
def test_a_length_that_is_not_believed_is_noticed(
    exchanges: Exchanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lines.KINDS, b"content-length", lines.DROP)
    assert finds(exchanges, "client")


@pytest.mark.usefixtures("unlearned")
def test_a_coding_that_is_not_seen_is_noticed(exchanges: Exchanges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lines.KINDS, b"transfer-encoding", lines.DROP)
    assert finds(exchanges, "client")


@interpreted
def test_trailers_taken_for_a_request_are_noticed(
    exchanges: Exchanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: framing.ChunkedReader, data: bytes, start: int) -> int:
        self.done = True
        return start + 2

    monkeypatch.setattr(framing.ChunkedReader, "read_trailers", none)
    assert finds(exchanges, "client") and finds(exchanges, "chunks")


@interpreted
def test_a_cut_answer_that_looks_whole_is_noticed(
    exchanges: Exchanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgiving(self: framing.ChunkedReader, data: bytes) -> bytes:
        payload = feed(self, data)
        if not self.done and not payload:
            self.done = True
        return payload

    feed = framing.ChunkedReader.feed
    monkeypatch.setattr(framing.ChunkedReader, "feed", forgiving)
    assert finds(exchanges, "origin")
