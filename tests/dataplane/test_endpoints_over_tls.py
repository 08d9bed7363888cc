"""TLS to the endpoints: the proxy verifies the certificate of the endpoint and can send a client certificate."""

from __future__ import annotations

import logging
import shutil
import ssl
from pathlib import Path

import pytest
import trustme

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


async def answer_to(harness: Harness, raw: bytes = b"") -> Message:
    client = await harness.client()
    await client.send(raw or post(b"x"))
    return await client.answer()


async def test_requests_go_over_one_tls_connection(harness: Harness, authority: Authority) -> None:
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


async def test_large_bodies_pass_in_both_directions(harness: Harness, authority: Authority) -> None:
    model = TlsModel("v2", authority.server("127.0.0.1"))
    model.answer = ok(b"y" * 3_000_000)
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        answer = await answer_to(harness, post(b"x" * 3_000_000))
        assert answer.body == b"y" * 3_000_000
        assert model.requests[0].endswith(b"\r\n\r\n" + b"x" * 3_000_000)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("expired", "certificate has expired"),
        ("another name", "certificate is not valid for '127.0.0.1'"),
        ("another authority", "unable to get local issuer certificate"),
        ("system authorities", "unable to get local issuer certificate"),
    ],
)
async def test_an_endpoint_that_fails_verification_gets_no_request(
    harness: Harness,
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    message: str,
) -> None:
    names = ("elsewhere.example", "127.0.0.2") if fault == "another name" else ("127.0.0.1",)
    context = authority.server(*names, expired=fault == "expired")
    model = TlsModel("v3", context)
    trusted = Authority(tmp_path, "other").file if fault == "another authority" else authority.file
    async with model.serving() as port:
        ca = None if fault == "system authorities" else trusted
        harness.replica("v3", over_tls(port), tls=Tls(ca=ca))
        harness.use(route("v3"))
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                answer = await answer_to(harness)
                assert (answer.status, answer.error) == REFUSED
        assert model.requests == []
        (record,) = caplog.records  # one warning, not one per request
        assert message.lower().replace(" ", "") in record.getMessage().lower().replace("_", "").replace(
            " ", ""
        )
        assert f"https://127.0.0.1:{port} of v3" in record.getMessage()
        cell = await harness.cell("v3")
        assert (cell.errors, cell.failures) == (2, {"tls": 2})


async def test_an_endpoint_without_tls_gives_502(harness: Harness) -> None:
    async def plain(conversation: Conversation) -> None:
        await conversation.more()
        await conversation.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await conversation.watch()

    harness.replica("v3", over_tls(harness.backend("plain", plain).port))
    harness.use(route("v3"))
    answer = await answer_to(harness)
    assert (answer.status, answer.error) == REFUSED


async def test_a_stalled_handshake_ends_after_the_connect_timeout(harness: Harness) -> None:
    """The fallback answers, and no connection stays open."""
    silent_model = harness.backend("silent_model", silent)
    harness.backend("v2")
    harness.replica("v3", over_tls(silent_model.port), connect_timeout=0.5)
    harness.use(route("v3", fallback="v2"))
    assert (await answer_to(harness)).backend == "v2"
    assert (await harness.cell("v3")).failures == {"connect": 1}
    # The first byte is that of a TLS handshake record (RFC 8446, 5.1): the request was not sent in plain text.
    assert silent_model.conversations[0].received[:1] == b"\x16"


async def test_a_drain_cancels_a_handshake(harness: Harness) -> None:
    silent_model = harness.backend("silent_model", silent)
    harness.replica("v3", over_tls(silent_model.port), connect_timeout=60.0)
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(post(b"x"))
    await wait_until(
        lambda: silent_model.conversations and silent_model.conversations[0].received, "a ClientHello"
    )
    await harness.plane.drain(0)
    await wait_until(lambda: not harness.plane.tasks, "the connection attempt is cancelled")


async def test_a_connection_opened_for_a_client_that_left_is_pooled(
    harness: Harness, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection attempt continues, and the next request uses the connection."""
    model = TlsModel("v2", authority.server("127.0.0.1"))
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        opening = connecting_slowly(monkeypatch)
        leaving_client = await harness.client()
        await leaving_client.send(post(b"x"))
        await wait_until(lambda: harness.plane.tasks, "the connection attempt begins")
        leaving_client.reset()
        await harness.quiet()
        opening.set()
        assert (await answer_to(harness)).body == b"v2"
        assert (await harness.cell("v2")).errors == 0
        assert len(model.requests) == 1


async def test_the_fallback_answers_when_verification_fails(harness: Harness, authority: Authority) -> None:
    """No byte was sent, so the fallback may answer even a request that is not pure."""
    model = TlsModel("v3", authority.server("elsewhere.example"))
    harness.backend("v2")
    async with model.serving() as port:
        harness.replica("v3", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v3", fallback="v2"))
        assert (await answer_to(harness)).backend == "v2"


async def test_another_endpoint_answers_when_verification_fails(
    harness: Harness, authority: Authority
) -> None:
    good, bad = (
        TlsModel("good", authority.server("127.0.0.1")),
        TlsModel("bad", authority.server("elsewhere.example")),
    )
    async with good.serving() as good_port, bad.serving() as bad_port:
        harness.replica("v2", over_tls(good_port), tls=Tls(ca=authority.file))
        harness.replica("v2", over_tls(bad_port), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        for _ in range(10):
            assert (await answer_to(harness)).body == b"good"
        assert bad.requests == []
        assert (await harness.cell("v2")).errors == 0


async def test_verification_can_be_turned_off(harness: Harness, authority: Authority) -> None:
    model = TlsModel("v2", authority.server("elsewhere.example", expired=True))
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=Tls(verify=False))
        harness.use(route("v2"))
        assert (await answer_to(harness)).body == b"v2"


async def test_the_server_name_is_the_configured_name_or_the_host(
    harness: Harness, authority: Authority
) -> None:
    """The proxy sends (SNI) and verifies this name. The Host field of the client passes unchanged."""
    named = TlsModel("named", authority.server("models.internal"))
    local = TlsModel("local", authority.server("localhost"))
    async with named.serving() as named_port, local.serving() as local_port:
        harness.replica("v2", over_tls(named_port), tls=Tls(ca=authority.file, server_name="models.internal"))
        harness.replica("v3", over_tls(local_port, "localhost"), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        assert (await answer_to(harness)).body == b"named"
        harness.use(route("v3"))
        assert (await answer_to(harness)).body == b"local"
    assert (named.names, local.names) == (["models.internal"], ["localhost"])
    assert b"\r\nHost: models\r\n" in named.requests[0]


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_an_endpoint_that_requires_a_client_certificate_gets_it(
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
        assert (await answer_to(harness)).body == b"v2"
        assert "proxy.internal" in str(model.shown[0])
        harness.use(route("v3"))
        answer = await answer_to(harness)
        assert answer.status == 502
        assert len(model.requests) == 1
        (stage,) = (await harness.cell("v3")).failures
        assert stage in ("tls", "reset", "connect")


async def test_a_renewed_client_certificate_is_used_on_new_connections(
    harness: Harness, authority: Authority
) -> None:
    """A new stamp means new file contents. Connections with the old certificate are not used again."""
    model = TlsModel("v2", authority.server("127.0.0.1", clients=authority))
    cert, key = authority.files("first.internal")
    tls = Tls(ca=authority.file, cert=cert, key=key, stamp="1")
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=tls)
        harness.use(route("v2"))
        assert (await answer_to(harness)).body == b"v2"
        for old, new in zip((cert, key), authority.files("second.internal"), strict=True):
            shutil.copy(new, old)
        harness.use(route("v2"))  # the same stamp: the connection stays in use
        assert (await answer_to(harness)).body == b"v2"
        assert model.connections == 1
        harness.specs.clear()
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file, cert=cert, key=key, stamp="2"))
        harness.use(route("v2"))
        assert (await answer_to(harness)).body == b"v2"
        assert model.connections == 2
        assert "second.internal" in str(model.shown[1])


async def test_a_missing_ca_file_fails_the_connections_of_its_backend_only(
    harness: Harness, authority: Authority, tmp_path: Path
) -> None:
    model = TlsModel("v3", authority.server("127.0.0.1"))
    harness.backend("v2")
    async with model.serving() as port:
        harness.replica("v3", over_tls(port), tls=Tls(ca=str(tmp_path / "gone.pem")))
        harness.use(route("v3", fallback="v2"))
        assert (await answer_to(harness)).backend == "v2"
        assert sum((await harness.cell("v3")).failures.values()) == 1


async def test_copies_go_over_tls(harness: Harness, authority: Authority) -> None:
    shadow = TlsModel("v4", authority.server("127.0.0.1"))
    harness.backend("v2")
    async with shadow.serving() as port:
        harness.replica("v4", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v2", mirrors=mirrored("v4")))
        assert (await answer_to(harness)).body == b"v2"
        await wait_until(lambda: shadow.requests, "the copy arrives")
        await harness.quiet()
        assert harness.mirrors("v4") == {"sent": 1}


@pytest.mark.parametrize("sends_close_notify", [True, False], ids=["close_notify", "none"])
async def test_an_answer_until_close_is_complete_only_after_close_notify(
    harness: Harness, authority: Authority, sends_close_notify: bool
) -> None:
    """Anyone on the network path can end a TCP connection. Without close_notify, the answer must not look complete (law 8)."""
    model = TlsModel("v2", authority.server("127.0.0.1"))
    model.answer = b"HTTP/1.1 200 OK\r\n\r\nhalf an ans"
    model.says_end = sends_close_notify
    async with model.serving() as port:
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file))
        harness.use(route("v2"))
        client = await harness.client()
        await client.send(get())
        cell = await harness.cell("v2")
        if sends_close_notify:
            assert (await client.answer()).body == b"half an ans"
            assert cell.errors == 0
        else:
            raw, _ = await client.rest()
            assert b"half an ans" in raw
            assert b"\r\n0\r\n" not in raw
            assert cell.failures == {"body": 1}


# ── sessions ──────────────────────────────────────────────────────────────────────────────────────

CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nv2"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_new_connection_resumes_the_session_of_the_one_before(
    harness: Harness, authority: Authority, version: ssl.TLSVersion
) -> None:
    """Of the same endpoint: another replica does not know it."""
    models = [TlsModel("v2", authority.server("127.0.0.1")) for _ in range(2)]
    for model in models:
        assert model.context is not None
        model.context.maximum_version = version
        model.answer = CLOSING
    async with models[0].serving() as one, models[1].serving() as other:
        harness.replica("v2", over_tls(one), tls=Tls(ca=authority.file))
        harness.replica("v2", over_tls(other))
        harness.use(route("v2"))
        for _ in range(30):
            assert (await answer_to(harness)).body == b"v2"
        for model in models:
            assert model.context is not None
            assert model.connections > 1
            assert model.context.session_stats()["hits"] == model.connections - 1


async def test_after_a_renewal_no_session_is_resumed(harness: Harness, authority: Authority) -> None:
    """It would skip the verification by the CA that is in the file now."""
    model = TlsModel("v2", authority.server("127.0.0.1"))
    model.answer = CLOSING
    async with model.serving() as port:
        for stamp in ("first", "second"):
            harness.specs.pop("v2", None)
            harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file, stamp=stamp))
            harness.use(route("v2"))
            for _ in range(2):
                assert (await answer_to(harness)).body == b"v2"
        assert model.context is not None
        assert model.context.session_stats()["hits"] == 2
        trustme.CA().cert_pem.write_to_path(authority.file)
        harness.specs.pop("v2")
        harness.replica("v2", over_tls(port), tls=Tls(ca=authority.file, stamp="third"))
        harness.use(route("v2"))
        answer = await answer_to(harness)
        assert (answer.status, answer.field("x-crossfade-error")) == REFUSED
