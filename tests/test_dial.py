"""How an endpoint is reached: the TLS files of backends, and connections to the addresses of a name in turn."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from crossfade import dial
from crossfade.config.load import Loaded, load
from crossfade.config.problem import ConfigError
from crossfade.dial import examine
from crossfade.routing.snapshot import Endpoint, Tls
from tests.certificates import Authority

TEXT = """\
listen: :80
backends:
  v2:
    endpoints: https://model
    tls:
      ca: {ca}
      cert: {cert}
      key: {key}
routes: [{{name: r, split: {{v2: 1}}}}]
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    authority = Authority(tmp_path)
    cert, key = authority.files("proxy.internal")
    return {"ca": authority.file, "cert": cert, "key": key}


def loaded(files: dict[str, str]) -> Loaded:
    return load(TEXT.format(**files), "f.yaml", {}, examine)


def faults(files: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(files)
    return [str(problem) for problem in caught.value.problems]


def test_the_stamp_of_valid_files_changes_with_their_content(files: dict[str, str], tmp_path: Path) -> None:
    before = loaded(files)
    assert loaded(files).stamps == before.stamps
    Path(files["ca"]).write_bytes(Path(Authority(tmp_path, "other").file).read_bytes())
    after = loaded(files)
    assert after.stamps.keys() == before.stamps.keys() == {"v2"}
    assert after.stamps != before.stamps
    assert after.hash == before.hash


def test_missing_files_are_reported(files: dict[str, str]) -> None:
    assert faults(files | {"ca": "/none/ca.pem", "key": "/none/key"}) == [
        "f.yaml:6:11: backends.v2.tls.ca: cannot be read: No such file or directory",
        "f.yaml:8:12: backends.v2.tls.key: cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("key", "content", "expected"),
    [
        ("ca", "nothing", "6:11: backends.v2.tls.ca: holds no certificate in PEM form: no certificate or crl found"),
        ("ca", "", "6:11: backends.v2.tls.ca: holds no certificate in PEM form: no certificate or crl found"),
        ("cert", "nothing", "8:12: backends.v2.tls.key: certificate and key cannot be used: "),
        ("key", "nothing", "8:12: backends.v2.tls.key: certificate and key cannot be used: "),
    ],
)  # fmt: skip
def test_files_without_a_certificate_or_key_are_reported(
    files: dict[str, str], key: str, content: str, expected: str
) -> None:
    Path(files[key]).write_text(content)
    (fault,) = faults(files)
    assert fault.startswith(f"f.yaml:{expected}")


def test_a_key_of_another_certificate_is_reported(files: dict[str, str], tmp_path: Path) -> None:
    _, other = Authority(tmp_path, "other").files("other.internal")
    assert faults(files | {"key": other}) == [
        "f.yaml:8:12: backends.v2.tls.key: certificate and key cannot be used: key values mismatch"
    ]


def test_a_key_with_a_passphrase_is_reported_without_a_prompt(files: dict[str, str]) -> None:
    key = serialization.load_pem_private_key(Path(files["key"]).read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    Path(files["key"]).write_bytes(encrypted)
    (fault,) = faults(files)
    assert fault.startswith("f.yaml:8:12: backends.v2.tls.key: certificate and key cannot be used: ")


def test_certificate_and_key_can_be_in_one_file(files: dict[str, str]) -> None:
    combined = Path(files["cert"])
    combined.write_bytes(combined.read_bytes() + Path(files["key"]).read_bytes())
    text = TEXT.format(**files).replace(f"      key: {files['key']}\n", "")
    assert load(text, "f.yaml", {}, examine).stamps


# ── the addresses of a name, one after the other ──────────────────────────────────────────────────


class Greeted(asyncio.Protocol):
    """A client that is told by the server who it is."""

    def __init__(self) -> None:
        self.by: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.by.set_result(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result(None)


class Street:
    """Servers on one port of several loopback addresses; each says its address to whom it accepts."""

    def __init__(self) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = int(sock.getsockname()[1])
        self.servers: list[asyncio.Server] = []

    async def open(self, address: str, context: ssl.SSLContext | None = None) -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(address.encode())
            writer.close()

        self.servers.append(await asyncio.start_server(greet, address, self.port, ssl=context))

    async def reach(self, *addresses: str, context: ssl.SSLContext | None = None) -> str:
        """The address of the server that the connection came about with. Raises OSError."""
        at = Endpoint("model", self.port, f"model:{self.port}", True, f"http://model:{self.port}")
        client = await dial.connect(Greeted, at, addresses, Tls(), context)
        try:
            return (await client.by).decode()
        finally:
            client.transport.close()
            await client.ended

    async def close(self) -> None:
        for server in self.servers:
            server.close()
            await server.wait_closed()


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    made = Street()
    yield made
    await made.close()


async def test_the_next_address_is_tried_where_one_refuses(street: Street) -> None:
    await street.open("127.0.0.2")
    for addresses in (("127.0.0.1", "127.0.0.2"), ("127.0.0.1", "127.0.0.2", "127.0.0.3")):
        assert await street.reach(*addresses) == "127.0.0.2"


async def test_the_first_address_that_takes_a_connection_is_used(street: Street) -> None:
    for address in ("127.0.0.1", "127.0.0.2"):
        await street.open(address)
    assert await street.reach("127.0.0.1", "127.0.0.2") == "127.0.0.1"


async def test_where_all_refuse_the_last_says_why(street: Street) -> None:
    with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.2"):
        await street.reach("127.0.0.1", "127.0.0.2")


async def test_one_that_cannot_be_verified_is_no_reason_to_try_the_next(
    street: Street, tmp_path: Path
) -> None:
    """A name's address that shows a bad certificate is told, and not passed over in silence."""
    good, bad = Authority(tmp_path), Authority(tmp_path, "other")
    context = dial.tls_context(Tls(ca=good.file))
    await street.open("127.0.0.1", bad.server("model"))
    await street.open("127.0.0.2", good.server("model"))
    with pytest.raises(ssl.SSLCertVerificationError):
        await street.reach("127.0.0.1", "127.0.0.2", context=context)
    assert await street.reach("127.0.0.2", "127.0.0.1", context=context) == "127.0.0.2"
    assert await street.reach("127.0.0.3", "127.0.0.2", context=context) == "127.0.0.2"
