"""The listening socket of the admin API: its file, its URL, and what commands are told of it."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from crossfade.config.listener import TlsConfig
from crossfade.workers.admin_socket import AdminSocket, bind_path, is_left_behind

TLS = TlsConfig(cert="/c.pem", key="/k.pem")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "admin.sock")


def test_the_file_is_for_owner_and_group_before_anybody_can_connect(path: str) -> None:
    sock = bind_path(path, [])
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as early, pytest.raises(ConnectionRefusedError):
        early.connect(path)
    sock.close()


def test_the_file_of_a_process_that_is_gone_is_replaced(path: str) -> None:
    first = bind_path(path, [])
    first.listen()
    first.close()
    assert is_left_behind(path)
    second = bind_path(path, [])
    second.listen()
    assert not_left(path) == "Address already in use"
    second.close()


def not_left(path: str) -> str:
    with pytest.raises(OSError) as raised:
        is_left_behind(path)
    return str(raised.value.strerror)


def test_a_socket_at_which_somebody_listens_is_left_alone(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen(0)
        with pytest.raises(OSError, match="already in use"):
            bind_path(path, [])
        assert os.path.exists(path)


def test_a_full_queue_is_somebody_who_listens(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(path)
        assert not_left(path) == "Address already in use"
        for client in clients:
            client.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_never_removed(path: str, kind: str) -> None:
    if kind == "file":
        Path(path).write_text("precious")
    elif kind == "folder":
        os.mkdir(path)
    else:
        os.symlink("/nothing/there", path)
    with pytest.raises(OSError, match="no socket"):
        bind_path(path, [])
    assert os.path.lexists(path)


def test_an_inherited_socket_is_used_again(path: str, tmp_path: Path) -> None:
    before = bind_path(path, [])
    before.listen()
    other = bind_path(str(tmp_path / "other.sock"), [])
    tcp = socket.create_server(("127.0.0.1", 0))
    inherited = [tcp, other, before]
    assert bind_path(path, inherited) is before
    assert inherited == [tcp, other]
    for sock in (before, other, tcp):
        sock.close()


def test_the_file_goes_with_the_last_that_listens(path: str) -> None:
    mine = AdminSocket(bind_path(path, []), None)
    mine.sock.listen()
    successor = mine.sock.dup()
    mine.remove()
    assert os.path.exists(path)
    AdminSocket(successor, None).remove()
    assert not os.path.exists(path)


def test_a_file_that_somebody_else_has_put_there_stays(path: str) -> None:
    mine = AdminSocket(bind_path(path, []), None)
    os.unlink(path)
    Path(path).write_text("precious")
    mine.remove()
    assert Path(path).read_text() == "precious"


@pytest.mark.parametrize(
    ("host", "tls", "shown", "url"),
    [
        ("0.0.0.0", None, "http://0.0.0.0:{}", "http://127.0.0.1:{}"),
        ("127.0.0.1", None, "http://127.0.0.1:{}", "http://127.0.0.1:{}"),
        ("127.0.0.1", TLS, "https://127.0.0.1:{}", "https://127.0.0.1:{}"),
        ("::", None, "http://[::]:{}", "http://[::1]:{}"),
    ],
)
def test_the_url_is_of_this_machine(host: str, tls: TlsConfig | None, shown: str, url: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        port = sock.getsockname()[1]
        admin = AdminSocket(sock, tls)
        assert (admin.shown, admin.url) == (shown.format(port), url.format(port))


def test_the_url_of_a_file(path: str) -> None:
    with bind_path(path, []) as sock:
        admin = AdminSocket(sock, None)
        assert admin.shown == admin.url == f"unix:{path}"
        assert admin.environment("t")["CROSSFADE_ADMIN_URL"] == f"unix:{path}"


def test_commands_are_told_whom_to_trust_and_what_to_show() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        plain = AdminSocket(sock, None).environment("t")
        assert plain["CROSSFADE_ADMIN_TOKEN"] == "t"
        assert "CROSSFADE_ADMIN_CACERT" not in plain
        over_tls = AdminSocket(sock, TLS).environment("t")
        assert over_tls["CROSSFADE_ADMIN_CACERT"] == "/c.pem"
        assert "CROSSFADE_ADMIN_CERT" not in over_tls
        asked = AdminSocket(sock, TlsConfig(cert="/c.pem", key="/k.pem", client_ca="/ca")).environment("t")
        assert (asked["CROSSFADE_ADMIN_CERT"], asked["CROSSFADE_ADMIN_KEY"]) == ("/c.pem", "/k.pem")


def test_two_that_look_at_once_do_not_hang(path: str) -> None:
    """The look is a connection; it must end although nobody accepts it."""
    sock = bind_path(path, [])
    sock.listen()
    looks = [threading.Thread(target=not_left, args=(path,)) for _ in range(4)]
    for look in looks:
        look.start()
    for look in looks:
        look.join()
    sock.close()
