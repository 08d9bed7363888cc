"""How commands reach the admin API: over TLS, whom they trust, and over a unix socket."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from crossfade.admin.access import Access
from crossfade.admin.api import admin_app
from crossfade.admin.connections import AdminSite, admin_runner
from crossfade.cli.reaching import Place
from crossfade.workers.admin_socket import bind_path
from tests.admin.site import Reloads
from tests.certificates import Authority
from tests.cli.conftest import Result, Shell
from tests.control.harness import Harness

Serve = Callable[[socket.socket, ssl.SSLContext | None], AbstractAsyncContextManager[None]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def serving_at(sock: socket.socket, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    harness = Harness()
    await harness.load()
    await harness.tick()
    runner = admin_runner(admin_app(harness.controller, Reloads(harness), Access.of_token("")))
    await runner.setup()
    await AdminSite(runner, sock, context).start()
    try:
        yield
    finally:
        await runner.cleanup()
        harness.store.close()


async def status(capsys: pytest.CaptureFixture[str], url: str, *more: str) -> Result:
    return await Shell(capsys, url).run_with_admin("status", "--json", *more)


async def over_tls(
    capsys: pytest.CaptureFixture[str], context: ssl.SSLContext, *more: str, host: str = "localhost"
) -> Result:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with serving_at(sock.dup(), context):
            return await status(capsys, f"https://{host}:{sock.getsockname()[1]}", *more)


async def test_an_authority_of_the_file_is_trusted(
    capsys: pytest.CaptureFixture[str], authority: Authority
) -> None:
    found = await over_tls(capsys, authority.server("localhost"), "--cacert", authority.file)
    assert (found.code, found.json["version"] != "") == (0, True)


@pytest.mark.parametrize("with_file", [False, True])
async def test_an_unknown_certificate_is_refused(
    capsys: pytest.CaptureFixture[str], authority: Authority, tmp_path: Path, with_file: bool
) -> None:
    (tmp_path / "b").mkdir()
    others = Authority(tmp_path / "b")
    more = ("--cacert", others.file) if with_file else ()
    found = await over_tls(capsys, authority.server("localhost"), *more)
    assert found.code == 3
    assert "certificate verify failed" in found.err and "--cacert or CROSSFADE_ADMIN_CACERT" in found.err


async def test_a_certificate_of_another_host_is_refused(
    capsys: pytest.CaptureFixture[str], authority: Authority
) -> None:
    found = await over_tls(capsys, authority.server("other.example"), "--cacert", authority.file)
    assert found.code == 3
    assert "localhost" in found.err and "not valid for" in found.err


async def test_the_very_certificate_of_the_file_is_trusted_whatever_its_names_are(
    capsys: pytest.CaptureFixture[str], authority: Authority
) -> None:
    """As for a report that the proxy has made of itself, over 127.0.0.1."""
    cert, key = authority.files("other.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    assert (await over_tls(capsys, context, "--cacert", cert)).code == 0
    assert (await over_tls(capsys, context, "--cacert", cert, host="127.0.0.1")).code == 0


async def test_another_certificate_of_the_same_authority_is_not_that_of_the_file(
    capsys: pytest.CaptureFixture[str], authority: Authority, tmp_path: Path
) -> None:
    """The file holds one certificate and its authority: only the very one may have other names."""
    cert, _ = authority.files("other.example")
    chain = joined(tmp_path / "chain.pem", cert, authority.file)
    assert (await over_tls(capsys, authority.server("other.example"), "--cacert", chain)).code == 3


def joined(path: Path, *files: str) -> str:
    path.write_text("".join(Path(file).read_text() for file in files))
    return str(path)


async def test_a_certificate_is_shown_where_one_is_asked_for(
    capsys: pytest.CaptureFixture[str], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = authority.server("localhost", clients=authority)
    cert, key = authority.files("alice")
    refused = await over_tls(capsys, context, "--cacert", authority.file)
    assert refused.code == 3
    shown = ("--cacert", authority.file, "--cert", cert, "--key", key)
    assert (await over_tls(capsys, context, *shown)).code == 0
    monkeypatch.setenv("CROSSFADE_ADMIN_CACERT", authority.file)
    monkeypatch.setenv("CROSSFADE_ADMIN_CERT", cert)
    monkeypatch.setenv("CROSSFADE_ADMIN_KEY", key)
    assert (await over_tls(capsys, context)).code == 0


@pytest.mark.parametrize("wrong", [("--cacert", "/nothing"), ("--cert", "/nothing")])
async def test_files_that_cannot_be_used_are_named(
    capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]
) -> None:
    found = await Shell(capsys, "https://localhost:1").run_with_admin("status", *wrong)
    assert found.code in (2, 3)
    found = await over_tls_nowhere(capsys, *wrong)
    assert (found.code, "/nothing" in found.err) == (2, True)


async def over_tls_nowhere(capsys: pytest.CaptureFixture[str], *more: str) -> Result:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return await status(capsys, f"https://127.0.0.1:{sock.getsockname()[1]}", *more)


async def test_http_to_a_port_with_tls_and_https_to_one_without(
    capsys: pytest.CaptureFixture[str], authority: Authority
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with serving_at(sock.dup()):
            found = await status(capsys, f"https://127.0.0.1:{sock.getsockname()[1]}")
    assert found.code == 3 and "begins with http://" in found.err


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
async def test_a_unix_socket(capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str) -> None:
    path = str(tmp_path / "a.sock")
    async with serving_at(bind_path(path, [])):
        found = await status(capsys, form.format(path))
        assert (found.code, found.json["routes"] != []) == (0, True)
        shell = Shell(capsys, form.format(path))
        assert (await shell.run_with_admin("pause", "churn")).code == 0
    found = await status(capsys, form.format(path))
    assert found.code == 3 and "crossfade run" in found.err and path in found.err


@pytest.mark.parametrize("url", ["unix:", "unix:a.sock", "unix://a/b.sock"])
async def test_a_unix_socket_has_an_absolute_path(capsys: pytest.CaptureFixture[str], url: str) -> None:
    found = await status(capsys, url)
    assert (found.code, "unix:/run/crossfade.sock" in found.err) == (2, True)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://h", Place("h", 80, False, "", "")),
        ("https://h", Place("h", 443, True, "", "")),
        ("https://h:1/x/", Place("h", 1, True, "", "/x")),
        ("http://[::1]:1", Place("::1", 1, False, "", "")),
        ("unix:/a/b", Place("localhost", 0, False, "/a/b", "")),
    ],
)
def test_the_place_of_a_url(url: str, place: Place) -> None:
    assert Place.of(url) == place
