"""The certificates of a listener: who is asked for one, what a renewal changes, and that no session outlives it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.workers.messages import Certificate
from crossfade.workers.tls import Credentials, context_of
from tests.certificates import Authority

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def others(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "others")


def listener(authority: Authority, clients: Authority | None = None, required: bool = True) -> Certificate:
    cert, key = authority.files("localhost")
    return Certificate(cert, key, clients.file if clients else None, required)


def client(authority: Authority, *own: str, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """One that trusts this authority, with a certificate of its own if given."""
    context = ssl.create_default_context(cafile=authority.file)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if own:
        context.load_cert_chain(*own)
    return context


def connected(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    name: str | None = "localhost",
    session: ssl.SSLSession | None = None,
) -> ssl.SSLObject:
    """The client's side of a connection over which the server has spoken. Raises SSLError, from either side."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=name, session=session)
    theirs = server.wrap_bio(up, down, server_side=True)
    waiting = [ours, theirs]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    theirs.write(b"hello")
    assert ours.read(5) == b"hello"  # with TLS 1.3 the tickets come before it
    return ours


def shown(side: ssl.SSLObject) -> bytes:
    der = side.getpeercert(binary_form=True)
    assert der is not None
    return der


# ── what a listener asks for ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
def test_both_versions_are_spoken(authority: Authority, version: ssl.TLSVersion) -> None:
    assert connected(context_of(listener(authority)), client(authority, version=version)).version() in (
        "TLSv1.2",
        "TLSv1.3",
    )


def test_nothing_older_is_spoken(authority: Authority) -> None:
    assert context_of(listener(authority)).minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_protocol_is_http_1(authority: Authority) -> None:
    asking = client(authority)
    asking.set_alpn_protocols(["h2", "http/1.1"])
    assert connected(context_of(listener(authority)), asking).selected_alpn_protocol() == "http/1.1"


def test_nobody_is_asked_for_a_certificate_without_a_ca_for_clients(authority: Authority) -> None:
    assert context_of(listener(authority)).verify_mode is ssl.CERT_NONE
    connected(context_of(listener(authority)), client(authority))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("required", [True, False])
def test_a_client_shows_a_certificate_where_it_must(
    authority: Authority, others: Authority, version: ssl.TLSVersion, required: bool
) -> None:
    server = context_of(listener(authority, others, required))
    connected(server, client(authority, *others.files("client"), version=version))
    if required:
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            connected(server, client(authority, version=version))
    else:
        connected(server, client(authority, version=version))


@pytest.mark.parametrize("required", [True, False])
def test_a_certificate_of_another_ca_is_refused_even_where_none_is_needed(
    authority: Authority, others: Authority, required: bool
) -> None:
    server = context_of(listener(authority, others, required))
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        connected(server, client(authority, *authority.files("client")))


# ── sessions ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_can_be_resumed_where_clients_show_no_certificate(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    server, asking = context_of(listener(authority)), client(authority, version=version)
    first = connected(server, asking)
    assert connected(server, asking, session=first.session).session_reused


def test_a_handshake_makes_one_ticket(authority: Authority) -> None:
    assert context_of(listener(authority)).num_tickets == 1


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
def test_no_session_is_resumed_where_clients_show_certificates(
    authority: Authority, others: Authority, version: ssl.TLSVersion, required: bool
) -> None:
    """A ticket would say for the old CA that this client is good, when that CA is trusted no more."""
    server = context_of(listener(authority, others, required))
    asking = client(authority, *others.files("client"), version=version)
    first = connected(server, asking)
    assert first.session is None or not first.session.has_ticket
    assert not connected(server, asking, session=first.session).session_reused


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_of_a_ca_that_is_gone_cannot_come_back_with_its_session(
    authority: Authority, others: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    credentials = Credentials(listener(authority, others))
    server = credentials.context  # what the listener was given, once and for all
    asking = client(authority, *others.files("client"), version=version)
    session = connected(server, asking).session
    Path(others.file).write_bytes(Path(Authority(tmp_path, "new").file).read_bytes())
    credentials.renew()
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        connected(server, asking, session=session)


# ── renewal ───────────────────────────────────────────────────────────────────────────────────────


def replaced(files: Certificate, *fresh: str) -> None:
    for path, other in zip((files.cert, files.key), fresh, strict=True):
        Path(path).write_bytes(Path(other).read_bytes())


@pytest.mark.parametrize("name", ["localhost", None])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_renewed_certificate_is_shown_from_the_next_connection_on(
    authority: Authority, version: ssl.TLSVersion, name: str | None
) -> None:
    """Also to a client that names nobody, by the very context that the listener was given."""
    files = listener(authority)
    credentials = Credentials(files)
    server = credentials.context
    asking = client(authority, version=version)
    asking.check_hostname = name is not None
    before = shown(connected(server, asking, name))
    assert shown(connected(server, asking, name)) == before
    replaced(files, *authority.files("localhost"))
    assert shown(connected(server, asking, name)) == before, "until it is told to renew"
    credentials.renew()
    assert shown(connected(server, asking, name)) != before


def test_files_that_are_no_good_leave_the_ones_before_in_force(authority: Authority) -> None:
    files = listener(authority)
    credentials = Credentials(files)
    server = credentials.context
    before = shown(connected(server, client(authority)))
    Path(files.cert).write_text("no certificate")
    with pytest.raises(OSError, match=f"cannot use {files.cert} with {files.key}"):
        credentials.renew()
    assert shown(connected(server, client(authority))) == before


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_that_cannot_be_read_is_named(authority: Authority, tmp_path: Path, content: str | None) -> None:
    missing = tmp_path / "clients.pem"
    if content is not None:
        missing.write_text(content)
    cert, key = authority.files("localhost")
    with pytest.raises(OSError, match=f"cannot use {missing}: "):
        context_of(Certificate(cert, key, str(missing)))


# ── several certificates ──────────────────────────────────────────────────────────────────────────


def several(authority: Authority, *hosts: tuple[str, ...]) -> Certificate:
    first, *others = [authority.files(*names) for names in hosts]
    return Certificate(*first, others=tuple(others))


def names_shown(side: ssl.SSLObject) -> list[str]:
    found: Any = side.getpeercert()
    return [str(value) for kind, value in found["subjectAltName"] if kind == "DNS"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("asked", "shown_for"),
    [
        ("a.test", "a.test"),
        ("b.test", "b.test"),
        ("C.test", "b.test"),  # its second name
        ("x.wild.test", "*.wild.test"),
        ("own.wild.test", "own.wild.test"),  # an exact name wins
        ("x.y.wild.test", "a.test"),  # a wildcard is for one label
        ("wild.test", "a.test"),
        ("unknown.test", "a.test"),
        (None, "a.test"),
    ],
)
def test_the_name_that_a_client_asks_for_chooses_the_certificate(
    authority: Authority, version: ssl.TLSVersion, asked: str | None, shown_for: str
) -> None:
    hosts = [("a.test",), ("b.test", "c.test"), ("*.wild.test",), ("own.wild.test",)]
    server = Credentials(several(authority, *hosts)).context
    asking = client(authority, version=version)
    asking.check_hostname = False
    assert names_shown(connected(server, asking, asked))[0] == shown_for


def test_each_of_several_certificates_is_renewed_or_none(authority: Authority) -> None:
    files = several(authority, ("a.test",), ("b.test",))
    credentials = Credentials(files)
    server, asking = credentials.context, client(authority)
    before = {name: shown(connected(server, asking, name)) for name in ("a.test", "b.test")}
    cert, key = files.others[0]
    content = Path(cert).read_bytes()
    replaced(files, *authority.files("a.test"))
    Path(cert).write_bytes(content[:200])
    with pytest.raises(OSError, match=f"cannot use {cert} with {key}"):
        credentials.renew()
    assert {name: shown(connected(server, asking, name)) for name in before} == before
    Path(cert).write_bytes(content)
    credentials.renew()
    after = {name: shown(connected(server, asking, name)) for name in before}
    assert (after["a.test"] != before["a.test"], after["b.test"] == before["b.test"]) == (True, True)


def test_a_certificate_that_no_client_would_get_is_refused(authority: Authority) -> None:
    files = several(authority, ("a.test",), ("10.0.0.1",))
    with pytest.raises(OSError, match="names no host"):
        Credentials(files)


def test_all_certificates_ask_for_the_same_client_certificates(
    authority: Authority, others: Authority
) -> None:
    files = replace(several(authority, ("a.test",), ("b.test",)), client_ca=others.file)
    server = Credentials(files).context
    for name in ("a.test", "b.test"):
        connected(server, client(authority, *others.files("client")), name)
        with pytest.raises(ssl.SSLError):
            connected(server, client(authority), name)
