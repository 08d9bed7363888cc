"""TLS towards models: who answers is verified, and learns who asks."""

from __future__ import annotations

import logging
import shutil
import ssl
from pathlib import Path

import pytest

from crossfade.routing.snapshot import Endpoint, Tls
from tests.certificates import Authority
from tests.dataplane.model_over_tls import TlsModel
from tests.dataplane.plane import Harness, connecting_slowly, mirrored, route
from tests.dataplane.scripted import Conversation, silent
from tests.dataplane.wire import Message, get, ok, post, wait_until

REFUSED = (502, b"upstream/tls")


def over_tls(port: int, host: str = "127.0.0.1") -> Endpoint:
    return Endpoint(host, port, f"{host}:{port}", True, f"https://{host}:{port}", tls=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def asked(harness: Harness, raw: bytes = b"") -> Message:
    client = await harness.client()
    await client.send(raw or post(b"x"))
    return await client.answer()


async def test_requests_go_over_tls_and_connections_are_kept(harness: Harness, authority: Authority) -> None:
    model = TlsModel("v2", authority.server("127.0.0.1"))
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        client = await harness.client()
        for n in range(5):
            await client.send(post(b"body %d" % n))
            assert (await client.answer()).body == b"v2"
        assert [r[-6:] for r in model.requests] == [b"body %d" % n for n in range(5)]
        assert model.connections == 1
        assert (await harness.cell("v2")).errors == 0


async def test_a_large_body_both_ways(harness: Harness, authority: Authority) -> None:
    model = TlsModel("v2", authority.server("127.0.0.1"))
    model.answer = ok(b"y" * 3_000_000)
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        answer = await asked(harness, post(b"x" * 3_000_000))
        assert answer.body == b"y" * 3_000_000
        assert model.requests[0].endswith(b"\r\n\r\n" + b"x" * 3_000_000)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("expired", "certificate has expired"),
        ("another name", "certificate is not valid for '127.0.0.1'"),
        ("another authority", "unable to get local issuer certificate"),
        ("the system's", "unable to get local issuer certificate"),
    ],
)
async def test_who_cannot_be_verified_gets_nothing(
    harness: Harness,
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    said: str,
) -> None:
    names = ("elsewhere.example", "127.0.0.2") if fault == "another name" else ("127.0.0.1",)
    context = authority.server(*names, expired=fault == "expired")
    model = TlsModel("v3", context)
    trusted = Authority(tmp_path, "other").file if fault == "another authority" else authority.file
    async with model.serving() as port:
        ca = None if fault == "the system's" else trusted
        harness.replica("v3", over_tls(port), tls=Tls(ca=ca))
        harness.use(route("v3"))
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                answer = await asked(harness)
                assert (answer.status, answer.error) == REFUSED
        assert model.requests == []
        (record,) = caplog.records  # once, not for each request
        assert said.lower().replace(" ", "") in record.getMessage().lower().replace("_", "").replace(" ", "")
        assert f"https://127.0.0.1:{port} of v3" in record.getMessage()
        cell = await harness.cell("v3")
        assert (cell.errors, cell.failures) == (2, {"tls": 2})


async def test_a_model_that_speaks_no_tls(harness: Harness) -> None:
    async def plain(conversation: Conversation) -> None:
        await conversation.more()
        await conversation.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await conversation.watch()

    harness.replica("v3", over_tls(harness.backend("plain", plain).port))
    harness.use(route("v3"))
    answer = await asked(harness)
    assert (answer.status, answer.error) == REFUSED


async def test_a_handshake_that_never_ends(harness: Harness) -> None:
    """It is given up in the time to connect, and leaves no connection behind."""
    mute = harness.backend("mute", silent)
    harness.backend("v2")
    harness.replica("v3", over_tls(mute.port), connect_timeout=0.05)
    harness.use(route("v3", fallback="v2"))
    assert (await asked(harness)).backend == "v2"
    assert (await harness.cell("v3")).failures == {"connect": 1}
    assert mute.conversations[0].received[:1] == b"\x16"  # a ClientHello, and nothing readable


async def test_a_drain_in_the_middle_of_a_handshake(harness: Harness) -> None:
    mute = harness.backend("mute", silent)
    harness.replica("v3", over_tls(mute.port), connect_timeout=60.0)
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(post(b"x"))
    await wait_until(lambda: mute.conversations and mute.conversations[0].received, "a ClientHello")
    await harness.plane.drain(0)
    await wait_until(lambda: not harness.plane.tasks, "the connecting is given up")


async def test_a_client_that_leaves_before_its_connection_is_there(
    harness: Harness, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection comes about all the same, and waits for the next request."""
    model = TlsModel("v2", authority.server("127.0.0.1"))
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        opening = connecting_slowly(monkeypatch)
        leaver = await harness.client()
        await leaver.send(post(b"x"))
        await wait_until(lambda: harness.plane.tasks, "it connects")
        leaver.reset()
        await harness.quiet()
        opening.set()
        assert (await asked(harness)).body == b"v2"
        assert (await harness.cell("v2")).errors == 0
        assert len(model.requests) == 1


async def test_the_fallback_answers_for_one_that_is_not_verified(
    harness: Harness, authority: Authority
) -> None:
    """Nothing was sent, so that even what is not pure may go elsewhere."""
    model = TlsModel("v3", authority.server("elsewhere.example"))
    harness.backend("v2")
    async with model.serving() as port:
        harness.replica("v3", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v3", fallback="v2"))
        assert (await asked(harness)).backend == "v2"


async def test_another_endpoint_answers_for_one_that_is_not_verified(
    harness: Harness, authority: Authority
) -> None:
    good, bad = (
        TlsModel("good", authority.server("127.0.0.1")),
        TlsModel("bad", authority.server("elsewhere.example")),
    )
    async with good.serving() as at, bad.serving() as nowhere:
        harness.replica("v2", over_tls(at), tls=Tls(ca=authority.file))
        harness.replica("v2", over_tls(nowhere), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        for _ in range(10):
            assert (await asked(harness)).body == b"good"
        assert bad.requests == []
        assert (await harness.cell("v2")).errors == 0


async def test_verification_can_be_turned_off(harness: Harness, authority: Authority) -> None:
    model = TlsModel("v2", authority.server("elsewhere.example", expired=True))
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=Tls(verify=False))
        harness.use(route("v2"))
        assert (await asked(harness)).body == b"v2"


async def test_the_name_asked_for_and_verified(harness: Harness, authority: Authority) -> None:
    """The endpoint's host, or what the operator says; the client's Host goes through as it came."""
    named = TlsModel("named", authority.server("models.internal"))
    local = TlsModel("local", authority.server("localhost"))
    async with named.serving() as one, local.serving() as other:
        harness.replica("v2", over_tls(one), tls=Tls(ca=authority.file, server_name="models.internal"))
        harness.replica("v3", over_tls(other, "localhost"), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        assert (await asked(harness)).body == b"named"
        harness.use(route("v3"))
        assert (await asked(harness)).body == b"local"
    assert (named.names, local.names) == (["models.internal"], ["localhost"])
    assert b"\r\nHost: models\r\n" in named.requests[0]


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_model_that_demands_a_certificate(
    harness: Harness, authority: Authority, version: str
) -> None:
    context = authority.server("127.0.0.1", clients=authority)
    context.maximum_version = ssl.TLSVersion[version]
    model = TlsModel("v2", context)
    cert, key = authority.files("proxy.internal")
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file, cert=cert, key=key))
        harness.replica("v3", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        assert (await asked(harness)).body == b"v2"
        assert "proxy.internal" in str(model.shown[0])
        harness.use(route("v3"))
        answer = await asked(harness)
        assert answer.status == 502
        assert len(model.requests) == 1
        (stage_name,) = (await harness.cell("v3")).failures
        assert stage_name in ("tls", "reset", "connect")


async def test_a_renewed_certificate_is_shown_on_new_connections(
    harness: Harness, authority: Authority
) -> None:
    """The stamp says that the files hold something else; connections with the former one are let go."""
    model = TlsModel("v2", authority.server("127.0.0.1", clients=authority))
    cert, key = authority.files("first.internal")
    tls = Tls(ca=authority.file, cert=cert, key=key, stamp="1")
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=tls)
        harness.use(route("v2"))
        assert (await asked(harness)).body == b"v2"
        for old, new in zip((cert, key), authority.files("second.internal"), strict=True):
            shutil.copy(new, old)
        harness.use(route("v2"))  # a snapshot without a reload: nothing changes
        assert (await asked(harness)).body == b"v2"
        assert model.connections == 1
        harness.specs.clear()
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file, cert=cert, key=key, stamp="2"))
        harness.use(route("v2"))
        assert (await asked(harness)).body == b"v2"
        assert model.connections == 2
        assert "second.internal" in str(model.shown[1])


async def test_files_that_went_bad_fail_connections_and_nothing_else(
    harness: Harness, authority: Authority, tmp_path: Path
) -> None:
    model = TlsModel("v3", authority.server("127.0.0.1"))
    harness.backend("v2")
    async with model.serving() as port:
        harness.replica("v3", over_tls(port), tls=Tls(ca=str(tmp_path / "gone.pem")))
        harness.use(route("v3", fallback="v2"))
        assert (await asked(harness)).backend == "v2"
        assert sum((await harness.cell("v3")).failures.values()) == 1


async def test_copies_go_over_tls_too(harness: Harness, authority: Authority) -> None:
    shadow = TlsModel("v4", authority.server("127.0.0.1"))
    harness.backend("v2")
    async with shadow.serving() as port:
        harness.replica("v4", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v2", mirrors=mirrored("v4")))
        assert (await asked(harness)).body == b"v2"
        await wait_until(lambda: shadow.requests, "a copy arrives")
        await harness.quiet()
        assert harness.mirrors("v4") == {"sent": 1}


@pytest.mark.parametrize("said", [True, False], ids=["close_notify", "none"])
async def test_an_answer_to_the_connections_end_is_whole_only_if_tls_says_so(
    harness: Harness, authority: Authority, said: bool
) -> None:
    """An end that anyone on the way could have made must not look like the model's (law 8)."""
    model = TlsModel("v2", authority.server("127.0.0.1"))
    model.answer = b"HTTP/1.1 200 OK\r\n\r\nhalf an ans"
    model.says_end = said
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        client = await harness.client()
        await client.send(get())
        cell = await harness.cell("v2")
        if said:
            assert (await client.answer()).body == b"half an ans"
            assert cell.errors == 0
        else:
            raw, _ = await client.rest()
            assert b"half an ans" in raw
            assert b"\r\n0\r\n" not in raw
            assert cell.failures == {"body": 1}
